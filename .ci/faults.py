"""A dashboard of which each panel has one fault. The checks of drawings have to find exactly these faults."""

THRESHOLDS = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": 1}]}
ONE_COLOR = {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
PALETTE = {"color": {"mode": "palette-classic"}}
REDUCED = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
OPTIONS = {
    "stat": {"colorMode": "value", "justifyMode": "auto", "textMode": "auto", "wideLayout": True, **REDUCED},
    "bargauge": {"displayMode": "basic", "orientation": "horizontal", "valueMode": "text", "namePlacement": "left", **REDUCED},
    "table": {"cellHeight": "sm", "showHeader": True},
    "timeseries": {"legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}},
}
CUSTOM = {
    "table": {"align": "auto", "cellOptions": {"type": "auto"}},
    "timeseries": {"drawStyle": "line", "lineWidth": 2, "showPoints": "never"},
}
TABLE = [{"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": "Missing"}}}]
COLORED = {"custom.cellOptions": {"type": "color-text"}}


def machines(first, second, value=1):
    """A query that returns two machines."""
    named = f'label_replace(vector({value}), "machine", "{first}", "", "")'
    return f'{named} or label_replace(vector(2), "machine", "{second}", "", "")'


SERVERS = machines("server-1", "server-2")
LONG = "WindowsServerForTheBranchOfficesInEurope"
# For each panel: its kind, its title, the problem that is found or None, its queries, its defaults, and the overrides
# of the column `Missing`.
PANELS = [
    ("stat", "A value in its colour", None, ["vector(1)"], {"thresholds": THRESHOLDS}, {}),
    ("stat", "A title that has so many words", "truncated title", ["vector(1)"], {}, {}),
    ("stat", "A colour that is fixed", "colour", ["vector(1)"], {"thresholds": THRESHOLDS, "color": {"mode": "fixed", "fixedColor": "green"}}, {}),
    ("stat", "A colour of a palette", "colour", ["vector(1)"], PALETTE, {}),
    ("stat", "No value", "empty", ["vector(1) > 1"], {}, {}),
    ("stat", "A wrong query", "error", ["sum("], {}, {}),
    ("table", "A table that fits", None, [SERVERS], {"thresholds": THRESHOLDS}, COLORED),
    ("table", "A column out of sight", "hidden column", [SERVERS], {}, {"custom.width": 900}),
    ("table", "A title wider than its column", "truncated title", [SERVERS], {}, {"custom.width": 50}),
    ("table", "A wide number", "truncated value", [machines("a", "b", 10**18)], {"unit": "none"}, {"custom.width": 80}),
    ("table", "Cells in colours of a palette", "colour", [SERVERS], PALETTE, COLORED),
    ("table", "A link without its field", "unresolved link", [SERVERS], {}, {"links": [{"title": "KB", "url": "/d/kb?${__data.fields.kb}"}]}),
    ("bargauge", "Bars with names", None, [SERVERS], {}, {}),
    ("bargauge", "Bars with names of one beginning", "same name", [machines(f"{LONG}1", f"{LONG}2")], {}, {}),
    ("bargauge", "Bars in colours of a palette", "colour", [SERVERS], PALETTE, {}),
    ("timeseries", "A legend that fits", None, [SERVERS], PALETTE, {}),
    ("timeseries", "A legend of long names", "hidden legend", [f"vector({number}) + {10**60}" for number in range(8)], PALETTE, {}),
    ("timeseries", "A text with a variable", "unresolved text", ["vector(1)"], {"displayName": "${kb}", **PALETTE}, {}),
]


def panel(number, kind, title, queries, defaults, overrides):
    is_small = kind == "stat"
    width, height = (4, 4) if is_small else (8, 6)
    row, column = divmod(number, 6) if is_small else divmod(number - 6, 3)
    return {
        "id": number,
        "title": title,
        "type": kind,
        "gridPos": {"x": column * width, "y": row * height + (0 if is_small else 4), "w": width, "h": height},
        "options": OPTIONS[kind],
        "targets": [
            {
                "expr": query,
                "refId": f"{position}",
                "format": "table" if kind == "table" else "time_series",
                "range": kind == "timeseries",
                "legendFormat": "{{machine}}" if "machine" in query else "",
            }
            for position, query in enumerate(queries)
        ],
        "transformations": TABLE if kind == "table" else [],
        "fieldConfig": {
            "defaults": {"color": {"mode": "thresholds"}, "thresholds": ONE_COLOR, "custom": CUSTOM.get(kind, {}), **defaults},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": "Missing"},
                    "properties": [{"id": key, "value": value} for key, value in overrides.items()],
                }
            ],
        },
    }


def dashboard():
    """The dashboard, and the expected problems as titles and kinds."""
    panels = [panel(number, *rest[:2], *rest[3:]) for number, rest in enumerate(PANELS)]
    expected = {(title, problem) for _, title, problem, *_ in PANELS if problem}
    # The browser reports the failed request for the wrong query.
    expected.add(("the page", "console"))
    return {"title": "Faults", "time": {"from": "now-1h"}, "templating": {"list": []}, "panels": panels}, expected
