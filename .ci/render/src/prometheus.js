// Requests to Prometheus, and their answers as Grafana's data frames.

import { FieldType, rangeUtil, toDataFrame } from "@grafana/data";
import { interpolate } from "./variables.js";

let address = "";

export function setAddress(url) {
    address = url;
}

async function call(path, parameters) {
    const reply = await fetch(`${address}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const { status, data, error } = await reply.json();
    if (status !== "success") throw new Error(error);
    return data;
}

export async function instantQuery(query, time) {
    return (await call("query", { query, time: time.to / 1000 })).result;
}

export function labelValues(label, selector, time) {
    const range = { start: time.from / 1000, end: time.to / 1000 };
    return call(`label/${label}/values`, selector ? { ...range, "match[]": selector } : range);
}

/** The series of a query between the start and the end of the time range, at multiples of the step. */
export async function rangeQuery(query, time, step) {
    const [start, end] = [time.from, time.to].map((at) => (Math.floor(at / step) * step) / 1000);
    return (await call("query_range", { query, start, end, step: step / 1000 })).result;
}

/** The distance between two points in milliseconds: at most one per pixel, at least the interval of the scrapes. */
function stepOf(panel, time, points) {
    const least = panel.interval ? rangeUtil.intervalToMs(panel.interval) : time.scrapeInterval;
    const range = { from: { valueOf: () => time.from }, to: { valueOf: () => time.to } };
    const wanted = rangeUtil.calculateInterval(range, points, `${Math.max(least, time.scrapeInterval)}ms`);
    return wanted.intervalMs;
}

function builtIn(step, time) {
    const seconds = (milliseconds) => `${Math.round(milliseconds / 1000)}s`;
    return {
        __interval: seconds(step),
        __interval_ms: String(step),
        __rate_interval: seconds(Math.max(step + time.scrapeInterval, 4 * time.scrapeInterval)),
        __range: seconds(time.to - time.from),
        __range_s: String(Math.round((time.to - time.from) / 1000)),
    };
}

/** Runs the queries of a panel that is `points` pixels wide. */
export async function runQueries(panel, variables, time, points) {
    const step = stepOf(panel, time, points);
    const targets = (panel.targets ?? []).filter((target) => !target.hide);
    const results = await Promise.all(
        targets.map(async (target) => {
            const query = interpolate(target.expr, variables, builtIn(step, time));
            if (target.format === "table") return table(target, await instantQuery(query, time), targets.length > 1);
            if (!target.range) return (await instantQuery(query, time)).map((found) => line(target, query, found, step));
            return (await rangeQuery(query, time, step)).map((found) => line(target, query, found, step));
        }),
    );
    return results.flat();
}

function line(target, query, found, step) {
    const samples = found.values ?? [found.value];
    const config = { displayNameFromDS: nameOf(target, query, found.metric) };
    return toDataFrame({
        refId: target.refId,
        fields: [
            { name: "Time", type: FieldType.time, config: { interval: step }, values: samples.map(([at]) => at * 1000) },
            {
                name: "Value",
                type: FieldType.number,
                labels: found.metric,
                config,
                values: samples.map(([, value]) => Number(value)),
            },
        ],
    });
}

function nameOf(target, query, labels) {
    if (target.legendFormat && target.legendFormat !== "__auto") {
        return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
    }
    const { __name__: name = "", ...others } = labels;
    const pairs = Object.entries(others).map(([label, text]) => `${label}="${text}"`);
    return name || pairs.length > 0 ? `${name}{${pairs.join(", ")}}` : query;
}

function table(target, samples, isOneOfSeveral) {
    if (samples.length === 0) return [];
    const labels = [...new Set(samples.flatMap(({ metric }) => Object.keys(metric).sort()))];
    const columns = labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: samples.map(({ metric }) => metric[label] ?? ""),
    }));
    const value = isOneOfSeveral ? `Value #${target.refId}` : "Value";
    return [
        toDataFrame({
            refId: target.refId,
            fields: [
                { name: "Time", type: FieldType.time, values: samples.map((sample) => sample.value[0] * 1000) },
                ...columns,
                { name: value, type: FieldType.number, values: samples.map((sample) => Number(sample.value[1])) },
            ],
        }),
    ];
}
