// The variables of a dashboard: their values, and how Grafana writes them into texts.

import { labelValues, instantQuery } from "./prometheus.js";

const ALL = "$__all";

/** A resolved variable: its values, or the pattern that stands for all values. */
class Variable {
    constructor(definition, values, pattern) {
        this.name = definition.name;
        this.isEscaped = Boolean(definition.multi || definition.includeAll);
        this.values = values;
        this.pattern = pattern;
    }

    format(format) {
        if (format === "queryparam") {
            const values = this.pattern === undefined ? this.values : [ALL];
            return values.map((value) => `var-${this.name}=${encodeURIComponent(value)}`).join("&");
        }
        if (this.pattern !== undefined) return this.pattern;
        switch (format) {
            case undefined:
                return this.inQuery();
            case "raw":
            case "text":
                return this.values.join(",");
            case "percentencode":
                return this.values.map(encodeURIComponent).join(",");
            case "regex":
                return alternatives(this.values.map((value) => value.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")));
            default:
                throw new Error(`unknown format of a variable: ${this.name}:${format}`);
        }
    }

    /** The value in a query without a format: the data source escapes it only if it can have several values. */
    inQuery() {
        if (!this.isEscaped) {
            return this.values.map((value) => value.replace(/\\/g, "\\\\\\\\").replace(/'/g, "\\\\'")).join(",");
        }
        const escape = (value) => value.replace(/\\/g, "\\\\\\\\").replace(/[$^*{}[\]'+?.()|]/g, "\\\\$&");
        return alternatives(this.values.map(escape));
    }
}

function alternatives(values) {
    return values.length === 1 ? values[0] : `(${values.join("|")})`;
}

/** Resolves the variables in their order. `chosen` holds the values that differ from those that Grafana would select. */
export async function resolveVariables(dashboard, time, chosen) {
    const variables = new Map();
    for (const definition of dashboard.templating.list) {
        const variable = await resolve(definition, variables, time, chosen[definition.name]);
        variables.set(definition.name, variable);
    }
    return variables;
}

async function resolve(definition, variables, time, chosen) {
    if (definition.type === "datasource") return new Variable(definition, ["prometheus"]);
    if (chosen !== undefined) return new Variable(definition, [chosen].flat());
    const current = [definition.current?.value ?? []].flat();
    if (current.includes(ALL) && definition.allValue) return new Variable(definition, [ALL], definition.allValue);
    if (current.length > 0 && !current.includes(ALL)) return new Variable(definition, current);
    const options = await optionsOf(definition, variables, time);
    if (options.length === 0) throw new Error(`the variable ${definition.name} has no value`);
    return new Variable(definition, current.includes(ALL) ? options : options.slice(0, 1));
}

async function optionsOf(definition, variables, time) {
    switch (definition.type) {
        case "custom":
        case "interval":
            return definition.query.split(",").map((option) => option.trim().split(" : ").pop());
        case "constant":
        case "textbox":
            return [definition.query];
        case "query":
            return sorted(definition.sort, matches(definition.regex, await queryOptions(definition, variables, time)));
        default:
            throw new Error(`unknown type of variable: ${definition.type}`);
    }
}

async function queryOptions(definition, variables, time) {
    const query = interpolate(definition.query.query, variables);
    const values = /^label_values\((?:(.+),\s*)?(\w+)\)$/s.exec(query);
    if (values) return labelValues(values[2], values[1], time);
    const result = /^query_result\((.+)\)$/s.exec(query);
    if (!result) throw new Error(`unknown query of the variable ${definition.name}: ${query}`);
    const samples = await instantQuery(result[1], time);
    return samples.map(({ metric, value }) => {
        const { __name__: name = "", ...labels } = metric;
        const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
        return `${name}{${pairs.join(",")}} ${value[1]} ${value[0] * 1000}`;
    });
}

/** The part of each option that a regular expression of the form `/.../` selects. */
function matches(regex, options) {
    if (!regex) return options;
    const pattern = new RegExp(regex.slice(1, regex.lastIndexOf("/")));
    const found = options.map((option) => pattern.exec(option)).filter(Boolean);
    return [...new Set(found.map((match) => match.groups?.value ?? match[1] ?? match[0]))];
}

function sorted(order, options) {
    const compare = (first, second) => (first < second ? -1 : Number(first > second));
    switch (order) {
        case 0:
            return options;
        case 1:
            return options.toSorted(compare);
        case 2:
            return options.toSorted(compare).reverse();
        case 3:
            return options.toSorted((first, second) => Number(first) - Number(second));
        case 4:
            return options.toSorted((first, second) => Number(second) - Number(first));
        default:
            throw new Error(`unknown order of the values of a variable: ${order}`);
    }
}

/** Replaces variables in a text. `builtIn` holds those of Grafana, such as `__interval`. Unknown names remain. */
export function interpolate(text, variables, builtIn = {}) {
    return text.replace(/\$(\w+)|\$\{(\w+)(?::(\w+))?\}/g, (whole, plain, braced, format) => {
        const name = plain ?? braced;
        if (name in builtIn) return builtIn[name];
        return variables.get(name)?.format(format) ?? whole;
    });
}
