"""Draws the open rows of a dashboard as SVG, from the results that Prometheus returns for its queries.

The picture is not made by Grafana. It shows the panels in the order, sizes and colours of the dashboard.
"""

import re
import time
from html import escape

COLUMN, ROW, GAP = 44, 30, 8
WIDTH = 24 * COLUMN + GAP
COLORS = {"green": "#3a9d5d", "orange": "#e08a2e", "red": "#d0453b", "blue": "#4a7fc1", "purple": "#8e5bb0"}
PALETTE = ["#4a7fc1", "#e08a2e", "#3a9d5d", "#8e5bb0", "#d0453b", "#5fb0b7", "#b3a032", "#8a6d5b"]
INK, FAINT, PAPER, CARD, LINE = "#1f2430", "#6b7280", "#f3f4f6", "#ffffff", "#e2e4e9"
DAY = 86400
# The widths of columns with long texts.
LONG = {"title": 26, "os_platform": 18}
# Seconds between two samples of the history.
STEP = 21600


def color_of(name):
    return COLORS.get(name, name)


def shown(value, unit):
    """Formats a value for people."""
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    if unit == "s":
        for length, word in ((DAY, "d"), (3600, "h"), (60, "min")):
            if abs(value) >= length:
                return f"{value / length:.1f} {word}"
        return f"{value:.0f} s"
    if unit == "time:YYYY-MM-DD":
        return time.strftime("%Y-%m-%d", time.gmtime(value / 1000))
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}"


def by_thresholds(config, value):
    steps = config["thresholds"]["steps"]
    passed = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return color_of(passed[-1])


def legend_of(target, labels, number):
    name = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), target["legendFormat"]).strip()
    return name or ", ".join(value for key, value in sorted(labels.items()) if value) or f"{number + 1}"


class Drawing:
    """Collects the elements of the SVG."""

    def __init__(self, call, variables, days):
        self.call, self.variables = call, variables
        self.end = time.time() // STEP * STEP
        self.start = self.end - days * DAY
        self.parts = []

    def text(self, x, y, text, size=11, color=INK, anchor="start", weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"'
            f' font-weight="{weight}">{escape(str(text))}</text>'
        )

    def box(self, x, y, width, height, color, radius=0, stroke="none"):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
            f' rx="{radius}" fill="{color}" stroke="{stroke}"/>'
        )

    def query(self, target):
        return re.sub(r"\$(\w+)", lambda found: self.variables[found[1]], target["expr"])

    def now(self, target):
        found = self.call("query", query=self.query(target), time=f"{self.end:.0f}")
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def over_time(self, target):
        found = self.call(
            "query_range", query=self.query(target), start=f"{self.start:.0f}", end=f"{self.end:.0f}", step=STEP
        )
        return [(one["metric"], [(at, float(value)) for at, value in one["values"]]) for one in found]

    def panel(self, panel):
        place = panel["gridPos"]
        x, y = GAP + place["x"] * COLUMN, GAP + 56 + place["y"] * ROW
        width, height = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        if panel["type"] == "row":
            self.text(x, y + 15, panel["title"], 13, weight="600")
            return
        self.box(x, y, width, height, CARD, 3, LINE)
        self.text(x + 8, y + 16, panel["title"], 11, weight="600")
        draw = {"stat": self.stat, "timeseries": self.series, "bargauge": self.bars, "table": self.table}
        draw[panel["type"]](panel, x + 8, y + 24, width - 16, height - 30)

    def stat(self, panel, x, y, width, height):
        config = panel["fieldConfig"]["defaults"]
        found = [(target, sample) for target in panel["targets"] for sample in self.now(target)]
        for number, (target, (labels, value)) in enumerate(found):
            color = by_thresholds(config, value) if len(found) == 1 else INK
            share = width / len(found)
            middle = x + share * (number + 0.5)
            self.text(middle, y + height * 0.55, shown(value, config["unit"]), 22, color, "middle", "600")
            if len(found) > 1:
                self.text(middle, y + height * 0.85, legend_of(target, labels, number), 10, FAINT, "middle")

    def series(self, panel, x, y, width, height):
        config, overrides = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["overrides"]
        fixed = {
            override["matcher"]["options"]: color_of(property["value"]["fixedColor"])
            for override in overrides
            for property in override["properties"]
            if property["id"] == "color"
        }
        named = lambda id: {
            override["matcher"]["options"]
            for override in overrides
            for property in override["properties"]
            if property["id"] == id
        }
        downwards, lined = named("custom.transform"), named("custom.drawStyle")
        lines = [
            (legend_of(target, labels, number), points)
            for number, target in enumerate(panel["targets"])
            for labels, points in self.over_time(target)
        ]
        colors = {name: fixed.get(name, PALETTE[at % len(PALETTE)]) for at, (name, _) in enumerate(lines)}
        lines = [(name, [(at, -v if name in downwards else v) for at, v in points]) for name, points in lines]
        stacked = config["custom"]["stacking"]["mode"] == "normal"
        low, high = self.extent(config, lines, stacked)
        bottom, left = y + height - 30, x + 44
        across = lambda at: left + (at - self.start) / (self.end - self.start) * (x + width - left)
        up = lambda value: bottom - (value - low) / (high - low) * (bottom - y - 4)
        for part in range(4):
            value = low + (high - low) * part / 3
            self.box(left, up(value), x + width - left, 0.5, LINE)
            self.text(left - 5, up(value) + 3, shown(value, config["unit"]), 9, FAINT, "end")
        self.marks(panel, across, y, bottom)
        self.curves(config, lines, colors, across, up, stacked, lined)
        at = x
        for name in colors:
            self.box(at, bottom + 14, 9, 9, colors[name], 2)
            self.text(at + 13, bottom + 22, name, 10, FAINT)
            at += 26 + 5.6 * len(name)

    def extent(self, config, lines, stacked):
        values = [value for _, points in lines for _, value in points] or [0, 1]
        if stacked:
            sums = {}
            for _, points in lines:
                for at, value in points:
                    sums[at] = sums.get(at, 0) + value
            values = [0, *sums.values()]
        low = config.get("min", min(0, *values))
        return low, config.get("max", max(*values, low + 1e-9) * 1.05)

    def marks(self, panel, across, top, bottom):
        day = self.start // DAY * DAY
        while day < self.end:
            date = time.gmtime(day)
            if date.tm_wday == 1 and 8 <= date.tm_mday <= 14 and day > self.start:
                self.box(across(day), top, 1, bottom - top, COLORS["purple"])
            if date.tm_mday in (1, 15) and day > self.start:
                self.text(across(day), bottom + 10, time.strftime("%d %b", date), 9, FAINT, "middle")
            day += DAY

    def curves(self, config, lines, colors, across, up, stacked, lined):
        below = {}
        for name, points in lines:
            kind = "line" if name in lined else config["custom"]["drawStyle"]
            if stacked:
                tops = [(at, below.get(at, 0) + value) for at, value in points]
                edge = [f"{across(at):.1f},{up(value):.1f}" for at, value in tops]
                base = [f"{across(at):.1f},{up(below.get(at, 0)):.1f}" for at, _ in reversed(points)]
                self.parts.append(f'<polygon points="{" ".join(edge + base)}" fill="{colors[name]}" opacity="0.75"/>')
                below.update(tops)
            elif kind == "bars":
                daily = points[::4]
                for at, value in daily:
                    self.box(across(at) - 2, min(up(value), up(0)), 4, abs(up(value) - up(0)), colors[name])
            else:
                pieces = []
                for number, (at, value) in enumerate(points):
                    if number == 0 or at - points[number - 1][0] > STEP:
                        pieces.append([])
                    pieces[-1].append(f"{across(at):.1f},{up(value):.1f}")
                for piece in pieces:
                    self.parts.append(
                        f'<polyline points="{" ".join(piece)}" fill="none" stroke="{colors[name]}" stroke-width="1.8"/>'
                    )

    def bars(self, panel, x, y, width, height):
        config = panel["fieldConfig"]["defaults"]
        found = [
            (legend_of(target, labels, number), value)
            for number, target in enumerate(panel["targets"])
            for labels, value in self.now(target)
        ]
        most = config.get("max") or max((value for _, value in found), default=1) or 1
        step = min(26, height / max(len(found), 1))
        fixed = {
            override["matcher"]["options"]: color_of(override["properties"][0]["value"].get("fixedColor"))
            for override in panel["fieldConfig"]["overrides"]
        }
        for number, (name, value) in enumerate(found):
            top = y + number * step
            color = fixed.get(name) or by_thresholds(config, value)
            self.text(x, top + step / 2 + 4, name, 10)
            self.box(x + 112, top + 3, (width - 160) * value / most, step - 8, color, 2)
            self.text(x + width, top + step / 2 + 4, shown(value, config["unit"]), 10, INK, "end")

    def table(self, panel, x, y, width, height):
        organize = panel["transformations"][1]["options"]
        fields = sorted(organize["indexByName"], key=organize["indexByName"].get)
        titles = organize["renameByName"]
        configs = {
            override["matcher"]["options"]: {property["id"]: property["value"] for property in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
        }
        several = len(panel["targets"]) > 1
        labels = [field for field in fields if not field.startswith("Value")]
        rows = {}
        results = [(target, list(self.now(target))) for target in panel["targets"]]
        # As in Grafana: rows are merged if they have the same values of the labels that all queries return.
        returned = [{label for found, _ in result for label in found} for _, result in results if result]
        keys = [label for label in labels if all(label in names for names in returned)]
        for target, result in results:
            for found, value in result:
                row = rows.setdefault(tuple(found.get(label, "") for label in keys), {})
                row.update({label: found[label] for label in labels if label in found})
                row[f"Value #{target['refId']}" if several else "Value"] = value
        least = {field: 12 if configs[titles[field]]["unit"].startswith("time:") else 8 for field in fields}
        wide = {field: LONG.get(field) or max(len(titles[field]), least[field]) for field in fields}
        unit = width / sum(wide.values())
        at = x
        for field in fields:
            is_label = field in labels
            right = at + wide[field] * unit - 8
            self.text(at if is_label else right, y + 10, titles[field], 10, FAINT, "start" if is_label else "end")
            for number, row in enumerate(list(rows.values())[: int((height - 14) / 17)]):
                base = y + 28 + number * 17
                if is_label:
                    self.text(at, base, row.get(field) or "(none)", 10)
                elif field in row:
                    config = configs[titles[field]]
                    color = by_thresholds(config, row[field]) if "thresholds" in config else INK
                    self.text(right, base, shown(row[field], config["unit"]), 10, color, "end")
            at += wide[field] * unit


def draw(dashboard, call, variables, days=60):
    """Draws a dashboard. `call` calls the API of Prometheus."""
    drawing = Drawing(call, variables, days)
    panels = [panel for panel in dashboard["panels"] if not panel.get("collapsed")]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    height = rows * ROW + 56 + 2 * GAP
    drawing.box(0, 0, WIDTH, height, PAPER)
    drawing.text(GAP, 28, dashboard["title"], 18, weight="600")
    drawing.text(
        GAP,
        46,
        "Drawn from the results that Prometheus returns for the queries of the dashboard, over simulated months."
        " The picture is not made by Grafana.",
        11,
        FAINT,
    )
    for panel in panels:
        drawing.panel(panel)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' font-family="Helvetica, Arial, sans-serif">\n' + "\n".join(drawing.parts) + "\n</svg>\n"
    )
