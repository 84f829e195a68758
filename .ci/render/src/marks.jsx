// The marks of annotations in graphs over time.

import { useLayoutEffect } from "react";
import { rangeUtil } from "@grafana/data";
import { rangeQuery } from "./prometheus.js";
import { interpolate } from "./variables.js";

/** The times and the colours of the annotations of a dashboard. */
export async function findMarks(dashboard, variables, time) {
    const annotations = (dashboard.annotations?.list ?? []).filter(({ enable, expr }) => enable && expr);
    const found = await Promise.all(
        annotations.map(async ({ expr, step, iconColor }) => {
            const query = interpolate(expr, variables);
            const series = await rangeQuery(query, time, rangeUtil.intervalToMs(step || "60s"));
            const times = series.flatMap(({ values }) => values.filter(([, value]) => value !== "0"));
            return times.map(([at]) => ({ at: at * 1000, color: iconColor }));
        }),
    );
    return found.flat();
}

/** Draws marks into a graph. As a child of the graph, it is set up before the graph is drawn. */
export function Marks({ config, marks, theme }) {
    useLayoutEffect(() => {
        config.addHook("draw", (plot) => {
            const { ctx, bbox } = plot;
            ctx.save();
            ctx.setLineDash([5 * devicePixelRatio, 5 * devicePixelRatio]);
            ctx.lineWidth = devicePixelRatio;
            for (const { at, color } of marks) {
                const x = plot.valToPos(at, "x", true);
                if (x < bbox.left || x > bbox.left + bbox.width) continue;
                ctx.strokeStyle = theme.visualization.getColorByName(color);
                ctx.beginPath();
                ctx.moveTo(x, bbox.top);
                ctx.lineTo(x, bbox.top + bbox.height);
                ctx.stroke();
            }
            ctx.restore();
        });
    }, [config, marks, theme]);
    return null;
}
