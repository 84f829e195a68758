// The colour that a value has to have by its mappings and thresholds.

/**
 * Returns the colour, `null` if the value must have none because its colour would state nothing, or `undefined` if any
 * colour is right.
 */
export function expectedColor(config, value, theme) {
    const named = (color) => theme.visualization.getColorByName(color);
    const mapped = mappedColor(config.mappings ?? [], value);
    if (mapped) return named(mapped);
    if (value === null || value === undefined || Number.isNaN(value)) return null;
    const steps = config.thresholds?.steps ?? [];
    if (steps.length > 1) {
        if (config.thresholds.mode !== "absolute") throw new Error(`thresholds are ${config.thresholds.mode}`);
        return named(steps.filter((step) => (step.value ?? -Infinity) <= value).at(-1).color);
    }
    return config.color?.mode === "fixed" || config.color?.mode === "thresholds" ? undefined : null;
}

function mappedColor(mappings, value) {
    for (const { type, options } of mappings) {
        if (type === "value" && options[value]?.color) return options[value].color;
        if (type === "range" && value >= (options.from ?? -Infinity) && value <= (options.to ?? Infinity)) {
            return options.result.color;
        }
        if (type === "special" && isSpecial(options.match, value)) return options.result.color;
    }
    return undefined;
}

function isSpecial(match, value) {
    const isNull = value === null || value === undefined;
    switch (match) {
        case "null":
            return isNull;
        case "nan":
            return Number.isNaN(value);
        case "null+nan":
            return isNull || Number.isNaN(value);
        case "empty":
            return value === "";
        default:
            throw new Error(`unknown special value: ${match}`);
    }
}

export function sameColor(first, second) {
    return channels(first) === channels(second);
}

function channels(color) {
    const probe = document.createElement("div");
    probe.style.color = color;
    document.body.append(probe);
    const computed = getComputedStyle(probe).color;
    probe.remove();
    return computed;
}
