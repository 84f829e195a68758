// From the answers of the queries to the fields that a panel shows: transformations, then defaults and overrides.

import { applyFieldOverrides, cacheFieldDisplayNames, getFieldDisplayName, transformDataFrame } from "@grafana/data";
import { firstValueFrom } from "rxjs";
import { interpolate } from "./variables.js";

const STANDARD = [
    "unit",
    "min",
    "max",
    "decimals",
    "displayName",
    "color",
    "thresholds",
    "mappings",
    "noValue",
    "links",
    "filterable",
    "fieldMinMax",
];

export async function fieldsOf(panel, frames, variables, time, theme) {
    const transformations = panel.transformations ?? [];
    const context = { interpolate: (text) => interpolate(text, variables) };
    const data = transformations.length ? await firstValueFrom(transformDataFrame(transformations, frames, context)) : frames;
    const fields = applyFieldOverrides({
        data,
        fieldConfig: withLowestSteps(panel.fieldConfig),
        fieldConfigRegistry: registryOf(panel.fieldConfig),
        replaceVariables: (text, scoped) => interpolateLink(text, variables, time, scoped),
        timeZone: time.zone,
        theme,
    });
    cacheFieldDisplayNames(fields);
    return fields;
}

/** The lowest step of thresholds has no value in JSON. */
function withLowestSteps(fieldConfig) {
    return JSON.parse(JSON.stringify(fieldConfig), (key, value) =>
        key === "steps" ? value.map((step) => ({ ...step, value: step.value ?? -Infinity })) : value,
    );
}

/** The options that the panel sets. In Grafana, each kind of panel registers its own. */
function registryOf({ defaults }) {
    const item = (id) => {
        const isCustom = id.startsWith("custom.");
        const path = isCustom ? id.slice("custom.".length) : id;
        return { id, path, isCustom, process: (value) => value, shouldApply: () => true };
    };
    const custom = Object.keys(defaults.custom ?? {}).map((key) => `custom.${key}`);
    return { list: () => [...STANDARD, ...custom].map(item), getIfExists: item };
}

/** Replaces variables in a link, also those that stand for a value in the row. */
function interpolateLink(text, variables, time, scoped) {
    const context = scoped?.__dataContext?.value;
    const inRow = text.replace(/\$\{__data\.fields(?:\.(\w+)|\["([^"]+)"\])(?::(\w+))?\}/g, (whole, plain, quoted, format) => {
        const name = plain ?? quoted;
        const fields = context?.frame.fields ?? [];
        const field = fields.find((it) => it.name === name || getFieldDisplayName(it, context.frame) === name);
        if (!field) return whole;
        const value = String(field.values[context.rowIndex ?? 0] ?? "");
        return format === "percentencode" ? encodeURIComponent(value) : value;
    });
    return interpolate(inRow, variables, { __url_time_range: `from=${time.from}&to=${time.to}` });
}
