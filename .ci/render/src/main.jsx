// The page: `drawDashboard` draws a dashboard, `findProblems` looks at what was drawn.

import "./environment.js";
import "./page.css";
import { createTheme, ThemeContext } from "@grafana/data";
import { GlobalStyles } from "@grafana/ui";
import { createRoot } from "react-dom/client";
import { problemsOf } from "./checks.js";
import { fieldsOf } from "./frames.js";
import { boundsOf, Dashboard, placedPanels } from "./layout.jsx";
import { findMarks } from "./marks.jsx";
import { reducedValues } from "./panels.jsx";
import { runQueries, setAddress } from "./prometheus.js";
import { resolveVariables } from "./variables.js";

const REDUCED = ["stat", "bargauge"];

let root;
let drawn = [];

async function prepare(place, { width, variables, time, theme, marks }) {
    const { panel } = place;
    const prepared = { place, panel, time, theme, marks, frames: [] };
    if (panel.type === "row" || panel.type === "text") return prepared;
    try {
        const points = Math.floor(boundsOf(place, width).width);
        const frames = await runQueries(panel, variables, time, points);
        prepared.frames = await fieldsOf(panel, frames, variables, time, theme);
        prepared.hasNoData = !prepared.frames.some((frame) => frame.length > 0);
        prepared.isEmpty = prepared.hasNoData && !REDUCED.includes(panel.type);
        if (REDUCED.includes(panel.type)) prepared.values = reducedValues(prepared);
    } catch (error) {
        prepared.error = error;
    }
    return prepared;
}

/** Draws a dashboard and resolves to its height when it is on the screen. */
window.drawDashboard = async ({ dashboard, address, mode, width, time, chosen }) => {
    setAddress(address);
    const theme = createTheme({ colors: { mode } });
    const variables = await resolveVariables(dashboard, time, chosen);
    const marks = await findMarks(dashboard, variables, time);
    const context = { width, variables, time, theme, marks };
    root?.unmount();
    root = createRoot(document.getElementById("root"));
    const show = (content) => root.render(<ThemeContext.Provider value={theme}>{content}</ThemeContext.Provider>);
    // Grafana measures texts while it draws, so the fonts come first.
    show(<GlobalStyles />);
    await painted();
    await Promise.all(["14px Inter", "500 14px Inter", "14px 'Roboto Mono'"].map((font) => document.fonts.load(font)));
    drawn = await Promise.all(placedPanels(dashboard).map((place) => prepare(place, context)));
    show(
        <>
            <GlobalStyles />
            <Dashboard drawn={drawn} width={width} />
        </>,
    );
    await settled();
    return document.getElementById("root").scrollHeight;
};

function painted() {
    return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}

/** Resolves when components that measure themselves have drawn again, and the icons in the titles are loaded. */
async function settled() {
    const icons = drawn.filter(({ panel }) => panel.description).length;
    const deadline = performance.now() + 10_000;
    do {
        await painted();
    } while (document.querySelectorAll("section svg").length < icons && performance.now() < deadline);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await painted();
}

window.findProblems = () => problemsOf(drawn);
