// Grafana does not publish its state timeline: this one has its rows, colours and texts, not its code.

const NAME_WIDTH = 110;
const AXIS_HEIGHT = 24;

/** The parts of a series with the same value: their text and colour, their start and end. */
function states(field, times) {
    const found = [];
    field.values.forEach((value, index) => {
        if (value === null || value === undefined) return;
        const end = times[index + 1] ?? times[index];
        const last = found.at(-1);
        if (last?.value === value) last.end = end;
        else found.push({ value, start: times[index], end, ...field.display(value) });
    });
    return found;
}

export function StateTimeline({ drawn, width, height }) {
    const { from, to } = drawn.time;
    const across = (at) => `${(100 * (Math.max(at, from) - from)) / (to - from)}%`;
    const rows = drawn.frames.map(({ fields: [time, field] }) => ({ field, parts: states(field, time.values) }));
    const rowHeight = (height - AXIS_HEIGHT) / rows.length;
    return (
        <div style={{ width, height, fontSize: 12 }}>
            {rows.map(({ field, parts }) => (
                <div key={field.config.displayNameFromDS} style={{ display: "flex", height: rowHeight, padding: "2px 0" }}>
                    <div className="drawn-name" style={{ width: NAME_WIDTH, overflow: "hidden", alignSelf: "center" }}>
                        {field.config.displayNameFromDS}
                    </div>
                    <div style={{ position: "relative", flexGrow: 1 }}>
                        {parts.map((part) => (
                            <div
                                key={part.start}
                                style={{
                                    position: "absolute",
                                    left: across(part.start),
                                    right: `calc(100% - ${across(part.end)})`,
                                    top: 0,
                                    bottom: 0,
                                    overflow: "hidden",
                                    padding: "0 4px",
                                    background: part.color,
                                    color: drawn.theme.colors.getContrastText(part.color),
                                }}
                            >
                                {part.text}
                            </div>
                        ))}
                    </div>
                </div>
            ))}
        </div>
    );
}
