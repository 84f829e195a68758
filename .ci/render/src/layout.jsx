// The grid of a dashboard. Every row is opened, so that every panel is drawn.

import { PanelChrome, Icon } from "@grafana/ui";
import { Component } from "react";
import { PANELS } from "./panels.jsx";

const COLUMNS = 24;
const CELL = 30;
const SPACE = 8;
const PADDING = 16;

/** The panels in their order, with those of collapsed rows placed as when the row is opened. */
export function placedPanels(dashboard) {
    const placed = [];
    let shift = 0;
    for (const panel of dashboard.panels) {
        const place = (it) => placed.push({ panel: it, ...it.gridPos, y: it.gridPos.y + shift });
        place(panel);
        const inside = panel.panels ?? [];
        inside.forEach(place);
        const bottom = Math.max(0, ...inside.map(({ gridPos }) => gridPos.y + gridPos.h));
        if (inside.length > 0) shift += bottom - panel.gridPos.y - panel.gridPos.h;
    }
    return placed;
}

export function boundsOf({ x, y, w, h }, width) {
    const column = (width - 2 * PADDING - (COLUMNS - 1) * SPACE) / COLUMNS;
    return {
        left: PADDING + x * (column + SPACE),
        top: PADDING + y * (CELL + SPACE),
        width: w * column + (w - 1) * SPACE,
        height: h * CELL + (h - 1) * SPACE,
    };
}

class ErrorBoundary extends Component {
    state = {};

    static getDerivedStateFromError(error) {
        return { error };
    }

    render() {
        return this.state.error ? <div className="drawn-error">{String(this.state.error)}</div> : this.props.children;
    }
}

function Panel({ drawn, bounds }) {
    const { panel } = drawn;
    const Content = PANELS[panel.type];
    return (
        <PanelChrome
            title={panel.title}
            description={panel.description}
            titleItems={panel.links?.length ? <Icon name="external-link-alt" size="sm" /> : undefined}
            displayMode={panel.transparent ? "transparent" : "default"}
            width={bounds.width}
            height={bounds.height}
        >
            {(width, height) => (
                <ErrorBoundary>
                    {drawn.error && <div className="drawn-error">{String(drawn.error)}</div>}
                    {!drawn.error && drawn.isEmpty && (
                        <div className="drawn-empty">{panel.fieldConfig.defaults.noValue ?? "No data"}</div>
                    )}
                    {!drawn.error && !drawn.isEmpty && <Content drawn={drawn} width={width} height={height} />}
                </ErrorBoundary>
            )}
        </PanelChrome>
    );
}

export function Dashboard({ drawn, width }) {
    const placed = drawn.map((it) => ({ it, bounds: boundsOf(it.place, width) }));
    const height = Math.max(...placed.map(({ bounds }) => bounds.top + bounds.height)) + PADDING;
    return (
        <div style={{ position: "relative", width, height }}>
            {placed.map(({ it, bounds }) => (
                <section key={it.panel.id} data-panel={it.panel.id} style={{ position: "absolute", ...bounds }}>
                    {it.panel.type === "row" ? (
                        <h2 className="drawn-row">{it.panel.title}</h2>
                    ) : (
                        <Panel drawn={it} bounds={bounds} />
                    )}
                </section>
            ))}
        </div>
    );
}
