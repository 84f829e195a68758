// The body of a function that returns what is wrong with the page in the window, as "kind: text".
// Arguments: the least contrast between text and background, and whether words must not be broken.

const [leastContrast, wordsAreWhole] = arguments;
const faults = new Set();
const fault = (kind, text) => faults.add(`${kind}: ${text}`);
const name = (element) => {
    const classes = element.getAttribute("class");
    return `<${element.localName}${classes ? ` class="${classes}"` : ""}> ${element.textContent.trim().slice(0, 60)}`;
};
// A function of an element whose values are kept: a page has thousands of elements.
const kept = (value) => {
    const values = new Map();
    return (element) => {
        if (!values.has(element)) values.set(element, value(element));
        return values.get(element);
    };
};
// Text that only screen readers get is cut to a pixel.
const isCut = kept((element) => element !== null && (getComputedStyle(element).clipPath !== "none" || isCut(element.parentElement)));
// Content of a closed <details> has boxes, but is not visible.
const isShown = (element) => element.checkVisibility() && !isCut(element);
const all = (selector) => [...document.querySelectorAll(selector)];

// Widths.
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) {
    fault("wide", `the page is ${document.documentElement.scrollWidth} of ${width} pixels wide`);
}
for (const element of all("body *")) {
    const box = element.getBoundingClientRect();
    if (box.width && (box.right > width + 1 || box.left < -1) && !isCut(element)) fault("wide", name(element));
}
for (const part of all("main, main *")) {
    const isScrolled = part.clientWidth && part.scrollWidth > part.clientWidth + 1;
    if (isScrolled && ["auto", "scroll"].includes(getComputedStyle(part).overflowX)) fault("scrolls", name(part));
}
for (const part of all("td, th, dt, dd, li, p, h1, h2, h3, summary")) {
    if (isShown(part) && part.clientWidth && part.scrollWidth > part.clientWidth + 1) fault("wider than its part", name(part));
}

// Words.
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const texts = [];
while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && isShown(parent)) texts.push(walker.currentNode);
}
// A name that is longer than a column has to be broken.
const LONGEST_WORD = 28;
if (wordsAreWhole) {
    for (const text of texts) {
        for (const word of text.data.matchAll(/\S+/g)) {
            if (word[0].length > LONGEST_WORD) continue;
            const range = document.createRange();
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            const lines = [...range.getClientRects()].filter((box) => box.width > 0).map((box) => Math.round(box.top));
            if (Math.max(...lines) - Math.min(...lines) > 4) fault("broken word", word[0]);
        }
    }
}

// Contrast, as WCAG defines it.
const channels = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = (color) => {
    const [red, green, blue] = channels(color).map((value) => {
        value /= 255;
        return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const background = kept((element) => {
    if (element === null) return "rgb(255, 255, 255)";
    const color = getComputedStyle(element).backgroundColor;
    return channels(color)[3] === 0 ? background(element.parentElement) : color;
});
for (const element of new Set(texts.map((text) => text.parentElement))) {
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    const [light, dark] = [color, background(element)].map(luminance).sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < leastContrast) fault("pale", `${contrast.toFixed(2)} ${name(element)}`);
}

// Structure.
const headings = all("h1, h2, h3, h4, h5, h6").map((heading) => Number(heading.localName[1]));
if (headings.filter((level) => level === 1).length !== 1 || headings[0] !== 1) fault("headings", "the first is not the only h1");
headings.forEach((level, place) => {
    if (place && level > headings[place - 1] + 1) fault("headings", `h${level} after h${headings[place - 1]}`);
});
const title = document.querySelector("h1")?.textContent.trim();
if (!document.title || !title || !document.title.startsWith(document.querySelector("h1").firstChild.data.trim())) {
    fault("title", `${document.title}, but the heading is ${title}`);
}
if (!document.documentElement.lang) fault("language", "none");
for (const table of all("table")) {
    const columns = [...table.querySelectorAll("thead th")];
    if (!columns.length) fault("table", `no header cells: ${name(table)}`);
    for (const row of table.querySelectorAll("tbody tr")) {
        if (row.cells.length !== columns.length) fault("table", `${row.cells.length} of ${columns.length} cells: ${name(row)}`);
    }
}
for (const cell of all("th")) if (!cell.scope) fault("table", `header cell without a scope: ${name(cell)}`);
for (const field of all("input:not([type=hidden]), select, textarea")) {
    if (!field.labels.length) fault("label", field.outerHTML);
}
for (const control of all("a, button, summary")) {
    if (!(control.getAttribute("aria-label") ?? control.textContent).trim()) fault("label", control.outerHTML);
}
for (const image of all("svg")) {
    if (!image.hasAttribute("role") || !(image.getAttribute("aria-label") ?? image.getAttribute("aria-labelledby"))) {
        fault("label", `${name(image)} without a text alternative`);
    }
}
const ids = all("[id]").map((element) => element.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) fault("id", `twice: ${id}`);
for (const element of all("[aria-labelledby]")) {
    if (!document.getElementById(element.getAttribute("aria-labelledby"))) fault("id", `none: ${name(element)}`);
}

// Content that the pages must not have.
for (const element of all("script, iframe, img, object, embed, meta[http-equiv=refresh]")) fault("content", element.outerHTML);
for (const element of all("[style]")) fault("content", `style attribute: ${name(element)}`);
for (const entry of performance.getEntriesByType("resource")) fault("request", entry.name);
return [...faults];
