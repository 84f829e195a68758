// What is wrong with a drawn dashboard. Geometry and colours are read from the page; the colours that are expected
// are computed here, not by Grafana's code.

import { getFieldDisplayName } from "@grafana/data";
import { expectedColor, sameColor } from "./colors.js";

const COLORED_CELLS = ["color-text", "color-background", "gauge"];
const GRAPHS = ["timeseries", "trend"];
const ELLIPSIS_WIDTH = 12;
const SHORT_LEGEND = 8;

/** The panels of a drawn dashboard that have a problem: title, kind of problem, and what was found. */
export function problemsOf(drawn) {
    return drawn.flatMap((it) => {
        const section = document.querySelector(`section[data-panel="${it.panel.id}"]`);
        const found = [...checkContent(it, section), ...checkTitles(section), ...checkTexts(section)];
        if (!it.error && !it.hasNoData) {
            if (it.panel.type === "table") found.push(...checkTable(it, section));
            if (it.values) found.push(...checkValues(it, section));
            if (GRAPHS.includes(it.panel.type)) found.push(...checkLegend(section));
        }
        return found.map(([kind, text]) => ({ panel: it.panel.title, kind, text }));
    });
}

function* checkContent(it, section) {
    const error = it.error ?? section.querySelector(".drawn-error")?.textContent;
    if (error) yield ["error", String(error)];
    else if (it.hasNoData) yield ["empty", it.panel.targets.map((target) => target.refId).join(", ")];
    const isGraph = GRAPHS.includes(it.panel.type) && !it.isEmpty && !error;
    if (isGraph && !section.querySelector("canvas")) yield ["empty", "the graph was not drawn"];
}

function* checkTitles(section) {
    for (const heading of section.querySelectorAll("h2")) {
        if (isClipped(heading)) yield ["truncated title", visibleText(heading)];
    }
}

/** Texts that Grafana or a template left unresolved. */
function* checkTexts(section) {
    const unresolved = /\bNaN\b|\bundefined\b|\bInfinity\b|\$\{\w|\$__(?!all)\w|\{\{/;
    if (unresolved.test(section.innerText)) yield ["unresolved text", unresolved.exec(section.innerText)[0]];
    for (const link of section.querySelectorAll("a[href]")) {
        const address = decodeURIComponent(link.getAttribute("href"));
        if (unresolved.test(address)) yield ["unresolved link", address];
    }
}

function* checkLegend(section) {
    const items = [...section.querySelectorAll('[data-testid^="data-testid VizLegend series"]')];
    const hidden = items.filter((item) => isOutside(item.getBoundingClientRect(), clipOf(item)));
    // Many series cannot all be named; Grafana scrolls their legend.
    if (hidden.length > 0 && items.length <= SHORT_LEGEND) yield ["hidden legend", hidden.map((item) => item.textContent).join(", ")];
}

function* checkTable(it, section) {
    const grid = section.querySelector('[role="grid"]');
    if (!grid) return yield ["empty", "the table was not drawn"];
    const fields = it.frames[0].fields.filter((field) => !field.config.custom?.hideFrom?.viz);
    const headers = [...grid.querySelectorAll('[role="columnheader"]')];
    if (headers.length < fields.length) yield ["hidden column", `${headers.length} of ${fields.length} columns`];
    if (grid.scrollWidth > grid.clientWidth + 1) {
        const right = grid.getBoundingClientRect().left + grid.clientWidth;
        const beyond = headers.filter((header) => header.getBoundingClientRect().right > right + 1);
        yield ["hidden column", beyond.map((header) => header.textContent).join(", ")];
    }
    for (const header of headers) {
        if (isClipped(header, header)) yield ["truncated title", `column ${header.textContent}`];
    }
    for (const [index, field] of fields.entries()) {
        yield* checkColumn(it, field, [...grid.querySelectorAll(`[role="gridcell"][aria-colindex="${index + 1}"]`)]);
    }
}

function* checkColumn({ frames, theme }, field, cells) {
    const name = `column ${getFieldDisplayName(field, frames[0])}`;
    const isNumber = field.type === "number" || field.type === "time";
    const cut = isNumber ? cells.find((cell) => isClipped(cell, cell)) : undefined;
    if (cut) yield ["truncated value", `${name}: ${cut.textContent}`];
    const type = field.config.custom?.cellOptions?.type;
    if (!COLORED_CELLS.includes(type)) return;
    const values = [...new Set(field.values)].map((value) => ({ value, text: textOf(field.display(value)) }));
    const found = cells.flatMap((cell) => {
        // Rows may be sorted, so the value is found by its text.
        const possible = values.filter(({ text }) => text === cell.textContent.trim());
        const expected = possible.map(({ value }) => expectedColor(field.config, value, theme));
        return [...checkColor(cell.textContent, paintOf(cell, type), expected, theme)];
    });
    if (found.length > 0) yield ["colour", `${name}: ${found.length} cells, ${found[0][1]}`];
}

function textOf({ prefix = "", text, suffix = "" }) {
    return `${prefix}${text}${suffix}`.trim();
}

/** The values of stats and bars: their colours, and the names of bars. */
function* checkValues({ panel, values, theme }, section) {
    const elements = [...section.querySelectorAll(".drawn-value")];
    if (elements.length !== values.length) yield ["empty", `${elements.length} of ${values.length} values`];
    const names = new Map();
    for (const [index, { display, field }] of values.entries()) {
        const element = elements[index];
        const what = values.length > 1 ? `${display.title} ${textOf(display)}` : textOf(display);
        const paint = panel.type === "stat" ? paintOf(numberOf(element, display), "color-text") : paintOf(element);
        yield* checkColor(what, paint, [expectedColor(field, display.numeric, theme)], theme);
        const name = panel.type === "bargauge" && display.title ? visibleText(element.firstElementChild) : "";
        if (name && names.has(name)) yield ["same name", `${names.get(name)} and ${display.title} are both ${name}`];
        names.set(name, display.title);
    }
}

/** The element with the text of a value. */
function numberOf(element, display) {
    return [...element.querySelectorAll("span")].find((span) => span.textContent === display.text) ?? element;
}

/** The colour that an element has for its value: that of its text, of its background or of the end of its bar. */
function paintOf(element, type) {
    if (type === "color-text") return getComputedStyle(element).color;
    if (type === "color-background") return getComputedStyle(element).backgroundColor;
    const bar = [...element.querySelectorAll("div")].find((it) => /border-(right|top):/.test(it.getAttribute("style") ?? ""));
    if (!bar) return getComputedStyle(element).color;
    const style = getComputedStyle(bar);
    return parseFloat(style.borderRightWidth) > 0 ? style.borderRightColor : style.borderTopColor;
}

function* checkColor(what, painted, expected, theme) {
    const neutral = [theme.colors.text.primary, theme.colors.text.secondary];
    if (expected.length === 0 || neutral.some((color) => sameColor(color, painted))) return;
    if (expected.some((color) => color === undefined)) return;
    if (!expected.some((color) => color !== null && sameColor(color, painted))) {
        yield ["colour", `${what} is ${painted}, not ${expected[0] ?? "without a colour"}`];
    }
}

/** The part of the page in which an element is visible: inside every parent that hides what does not fit. */
function clipOf(element, outermost = document.body) {
    const clip = { left: -Infinity, right: Infinity, top: -Infinity, bottom: Infinity };
    for (let at = element; at; at = at === outermost ? null : at.parentElement) {
        if (getComputedStyle(at).overflowX === "visible" && at !== outermost) continue;
        const box = at.getBoundingClientRect();
        clip.left = Math.max(clip.left, box.left);
        clip.right = Math.min(clip.right, box.right);
        clip.top = Math.max(clip.top, box.top);
        clip.bottom = Math.min(clip.bottom, box.bottom);
    }
    return clip;
}

function isOutside(box, clip) {
    return box.bottom > clip.bottom + 2 || box.right > clip.right + 1 || box.left < clip.left - 1;
}

function textBox(element, length) {
    const range = document.createRange();
    const text = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
    if (!text) return undefined;
    range.setStart(text, 0);
    range.setEnd(text, length ?? text.length);
    return range.getBoundingClientRect();
}

/** Whether a part of the text of an element cannot be seen, with an ellipsis or without. */
function isClipped(element, outermost = element) {
    const box = textBox(element);
    if (!box) return false;
    const clip = clipOf(element.querySelector("button, div") ?? element, outermost);
    return box.right > clip.right + 1 || box.left < clip.left - 1;
}

/** The text of an element as far as it can be seen. */
function visibleText(element) {
    const text = element.textContent;
    if (!isClipped(element)) return text;
    const { right } = clipOf(element, element);
    const lengths = [...text].map((_, length) => length);
    const visible = lengths.findLast((length) => textBox(element, length).right <= right - ELLIPSIS_WIDTH) ?? 0;
    return `${text.slice(0, visible)}…`;
}
