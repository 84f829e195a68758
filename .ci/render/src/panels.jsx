// One component for each kind of panel that the dashboards use.

import {
    dateTime,
    FieldMatcherID,
    fieldMatchers,
    FieldType,
    getDisplayValueAlignmentFactors,
    getFieldDisplayValues,
    renderMarkdown,
    VizOrientation,
} from "@grafana/data";
import { BarGauge, BigValue, TimeSeries, VizRepeater } from "@grafana/ui";
import { TableNG } from "@grafana/ui/unstable";
import { Marks } from "./marks.jsx";
import { StateTimeline } from "./timeline.jsx";

const DEFAULT_LEGEND = { displayMode: "list", placement: "bottom", calcs: [], showLegend: true };

/** The values of a panel that reduces each series to a value. */
export function reducedValues({ panel, frames, theme, time }) {
    return getFieldDisplayValues({
        fieldConfig: panel.fieldConfig,
        reduceOptions: panel.options.reduceOptions,
        data: frames,
        replaceVariables: (text) => text,
        timeZone: time.zone,
        theme,
    });
}

function Repeated({ drawn, width, height, autoGrid, orientation, spacing, children }) {
    const { minVizHeight, minVizWidth } = drawn.panel.options;
    return (
        <VizRepeater
            getValues={() => drawn.values}
            getAlignmentFactors={getDisplayValueAlignmentFactors}
            renderValue={children}
            width={width}
            height={height}
            minVizHeight={autoGrid ? undefined : minVizHeight}
            minVizWidth={autoGrid ? undefined : minVizWidth}
            source={drawn.frames}
            renderCounter={1}
            autoGrid={autoGrid}
            orientation={orientation ?? VizOrientation.Auto}
            itemSpacing={spacing}
        />
    );
}

function Stat({ drawn, width, height }) {
    const { options } = drawn.panel;
    return (
        <Repeated drawn={drawn} width={width} height={height} autoGrid orientation={options.orientation} spacing={3}>
            {(item) => (
                <BigValue
                    className="drawn-value"
                    value={item.value.display}
                    count={item.count}
                    alignmentFactors={item.alignmentFactors}
                    colorMode={options.colorMode}
                    graphMode="none"
                    justifyMode={options.justifyMode}
                    textMode={options.textMode}
                    text={options.text}
                    disableWideLayout={!options.wideLayout}
                    width={item.width}
                    height={item.height}
                    theme={drawn.theme}
                />
            )}
        </Repeated>
    );
}

function Bars({ drawn, width, height }) {
    const { options } = drawn.panel;
    return (
        <Repeated drawn={drawn} width={width} height={height} orientation={options.orientation} spacing={10}>
            {(item) => (
                <BarGauge
                    className="drawn-value"
                    value={item.value.display}
                    field={item.value.field}
                    display={item.value.view?.getFieldDisplayProcessor(item.value.colIndex)}
                    alignmentFactors={item.alignmentFactors}
                    orientation={item.orientation}
                    displayMode={options.displayMode}
                    valueDisplayMode={options.valueMode}
                    namePlacement={options.namePlacement}
                    showUnfilled={options.showUnfilled}
                    text={options.text}
                    itemSpacing={10}
                    lcdCellWidth={12}
                    width={item.width}
                    height={item.height}
                    theme={drawn.theme}
                />
            )}
        </Repeated>
    );
}

function Table({ drawn, width, height }) {
    const { options } = drawn.panel;
    return (
        <TableNG
            data={drawn.frames[0]}
            width={width}
            height={height}
            cellHeight={options.cellHeight}
            noHeader={!options.showHeader}
            initialSortBy={options.sortBy}
            enablePagination={options.footer?.enablePagination}
            enableVirtualization={false}
            structureRev={1}
        />
    );
}

function Lines({ drawn, width, height }) {
    const [from, to] = [dateTime(drawn.time.from), dateTime(drawn.time.to)];
    const { options, type } = drawn.panel;
    const byOption = {
        x: fieldMatchers.get(FieldMatcherID.byName).get(options.xField),
        y: fieldMatchers.get(FieldMatcherID.byTypes).get(new Set([FieldType.number])),
    };
    return (
        <TimeSeries
            frames={drawn.frames}
            fields={type === "trend" ? byOption : undefined}
            structureRev={1}
            width={width}
            height={height}
            timeRange={{ from, to, raw: { from, to } }}
            timeZone={drawn.time.zone}
            legend={options.legend ?? DEFAULT_LEGEND}
            options={options}
        >
            {(config) => type === "timeseries" && <Marks config={config} marks={drawn.marks} theme={drawn.theme} />}
        </TimeSeries>
    );
}

function Text({ drawn }) {
    const html = { __html: renderMarkdown(drawn.panel.options.content) };
    return <div className="markdown-html" dangerouslySetInnerHTML={html} />;
}

export const PANELS = {
    stat: Stat,
    bargauge: Bars,
    table: Table,
    timeseries: Lines,
    trend: Lines,
    "state-timeline": StateTimeline,
    text: Text,
};
