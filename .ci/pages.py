"""Checks of the pages that need no browser: headers, downloads, links, and the numbers on the pages."""

import collections
import csv
import html.parser
import io
import json
import re
import statistics
import threading
import time
import urllib.error
import urllib.parse

from programs import Failed, check, opener

# Bytes that the first page may have.
FIRST_PAGE = 60_000
# Pages and downloads that a walk over the links visits: in total, and of one kind. Links with more parameters
# combine those with fewer.
MOST_VISITED, MOST_OF_A_KIND, MOST_PARAMETERS = 400, 8, 2
# Numbers that are followed on one page.
MOST_NUMBERS = 40
# How often a comparison is repeated when the demo has changed its data meanwhile.
ATTEMPTS = 20
# The text of a link that is a number of rows, such as "3", "overdue 3" and "3 machines".
NUMBER = re.compile(r"(?:.* )?([\d,]+)(?: (?:machines?|updates?|devices?))?")


class Links(html.parser.HTMLParser):
    """The links of a page with their texts, or with their titles if they are parts of a drawing."""

    def __init__(self, page):
        super().__init__()
        self.found, self.within = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found.append([dict(attributes)["href"], ""])
        if tag in ("a", "svg", "title"):
            self.within.append(tag)

    def handle_data(self, data):
        drawn = "svg" in self.within
        if "a" in self.within and (not drawn or self.within[-1] == "title"):
            self.found[-1][1] += data

    def handle_endtag(self, tag):
        if tag in self.within:
            self.within.remove(tag)


class Answer:
    """The answer to a request."""

    def __init__(self, reply, url):
        self.status, self.headers, self.url = reply.status, reply.headers, reply.url
        self.body = reply.read()
        self.text = self.body.decode()
        self.is_page = self.headers["Content-Type"].startswith("text/html")

    def links(self):
        """The absolute addresses of the links on this page, with their texts."""
        found = Links(self.text).found if self.is_page else []
        return [(urllib.parse.urljoin(self.url, href).partition("#")[0], text.strip()) for href, text in found]


class Site:
    """The pages of one exporter."""

    def __init__(self, address):
        self.address = address

    def get(self, path):
        """The answer to a request for a path or an address, after redirects."""
        url = urllib.parse.urljoin(self.address, path)
        try:
            with opener.open(url, timeout=30) as reply:
                return Answer(reply, url)
        except urllib.error.HTTPError as error:
            return Answer(error, url)

    def rows(self, path):
        """The rows of a download as CSV."""
        answer = self.get(path)
        if answer.status != 200 or not answer.headers["Content-Type"].startswith("text/csv"):
            raise Failed(f"{path}: {answer.status} {answer.headers['Content-Type']}")
        return list(csv.DictReader(io.StringIO(answer.text)))

    def samples(self, name, *labels):
        """The sums of a metric by the values of these labels, which a counter holds as texts or as tuples of texts."""
        sums = collections.Counter()
        for labelled, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", self.get("/metrics").text, re.MULTILINE):
            values = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labelled))
            sums[tuple(values[label] for label in labels)] += int(float(value))
        return +sums


def same(what, served, counted):
    """Checks that the metrics and a download agree. The demo may change its data between the two requests."""
    for _ in range(ATTEMPTS):
        before, rows, after = served(), counted(), served()
        if before == after == rows:
            break
    check(before == rows and rows, f"{what}: {dict(list(rows.items())[:6])}, metrics: {dict(list(before.items())[:6])}")


def as_cell(value):
    """A value of a download as JSON, as it is written as CSV."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value)
    return f"'{value}" if value.startswith(tuple("=+-@\t\r\n")) else value


def check_downloads(site):
    """Checks that the downloads agree with the metrics, and CSV with JSON."""
    policies = sorted({policy for (policy,) in site.samples("mde_policy_machines", "policy")})
    for policy in policies:
        path = f"/machines.csv?policy={urllib.parse.quote(policy)}"

        def counted(path=path):
            return collections.Counter((row["policy"], row["state"]) for row in site.rows(path))

        def served(policy=policy):
            states = site.samples("mde_policy_machines", "policy", "state")
            return collections.Counter({key: count for key, count in states.items() if key[0] == policy})

        same(f"machines by state under {policy}", served, counted)
    same(
        "machines by state of their data",
        lambda: site.samples("mde_assessed_machines", "tenant", "state"),
        lambda: collections.Counter((row["tenant"], row["data_state"]) for row in site.rows("/machines.csv")),
    )
    same(
        "machines by missing update",
        lambda: site.samples("mde_update_missing_machines", "tenant", "kb"),
        lambda: collections.Counter({(row["tenant"], row["kb"]): int(row["machines"]) for row in site.rows("/updates.csv")}),
    )
    same(
        "missing updates",
        lambda: collections.Counter({"all": sum(site.samples("mde_missing_updates", "severity").values())}),
        lambda: collections.Counter({"all": sum(int(row["machines"]) for row in site.rows("/updates.csv"))}),
    )
    machine = site.rows("/machines.csv?policy_state=overdue")[0]["machine_id"]
    update = site.rows("/updates.csv")[0]["kb"]
    for path in ["/machines", "/updates", f"/machines/{machine}", f"/updates/{update}"]:
        for _ in range(ATTEMPTS):
            answer, rows = site.get(f"{path}.json"), site.rows(f"{path}.csv")
            objects = [{key: as_cell(value) for key, value in row.items()} for row in json.loads(answer.text)]
            if objects == rows:
                break
        different = [both for both in zip(objects, rows) if both[0] != both[1]][:1]
        check(objects == rows and rows, f"{path}: {len(rows)} rows as CSV and the same as JSON {different or ''}")
        for name in ["csv", "json"]:
            headers = site.get(f"{path}.{name}").headers
            attached = headers["Content-Disposition"].startswith("attachment")
            check(attached and headers["Cache-Control"] == "no-store", f"{path}.{name} is an attachment that is not stored")


def check_headers(site, pages):
    """Checks the headers of pages, and the size of the first one."""
    for name, path in pages.items():
        answer, still = site.get(path), site.get(f"{path}{'&' if '?' in path else '?'}refresh=off")
        switched = answer.headers["Refresh"] == "60" and still.headers["Refresh"] is None
        check(switched, f"{name}: the page refreshes once a minute, which can be switched off")
        policy = answer.headers["Content-Security-Policy"]
        check("default-src 'none'" in policy and "unsafe" not in policy, f"{name}: the content policy is strict")
    size = len(site.get("/").body)
    check(size < FIRST_PAGE, f"the first page has {size:,} of {FIRST_PAGE:,} bytes")


def kind(url):
    """The kind of a link: its path without ids, and the names of its parameters."""
    parts = urllib.parse.urlsplit(url)
    path = re.sub(r"/(machines|updates)/[^/.]+", r"/\1/ID", parts.path)
    return path, tuple(sorted(name for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)))


def check_links(site):
    """Follows the links of the pages, a few of each kind."""
    waiting, known, kinds = collections.deque([(site.get("/").url, None)]), {site.get("/").url}, collections.Counter()
    broken, foreign = [], set()
    visited = 0
    while waiting and visited < MOST_VISITED:
        url, parent = waiting.popleft()
        answer = site.get(url)
        visited += 1
        # An update that nobody misses any more is unknown; the page that named it no longer does.
        if answer.status != 200 and url in {link for link, _ in site.get(parent).links()}:
            broken.append((answer.status, url, parent))
        for link, _ in answer.links():
            if not link.startswith(site.address):
                foreign.add(link)
            elif link not in known and kinds[kind(link)] < MOST_OF_A_KIND and len(kind(link)[1]) <= MOST_PARAMETERS:
                known.add(link)
                kinds[kind(link)] += 1
                waiting.append((link, url))
    check(not broken, f"no link of {visited} pages and downloads of {len(kinds)} kinds is broken: {broken[:5]}")
    check(not foreign, f"no link leaves the exporter: {sorted(foreign)[:3]}")
    check(visited > 50 and len(kinds) > 20, "the walk over the links reaches many kinds of pages")


def numbers(page):
    """The links on a page that are numbers of rows, with the path of the download of these rows."""
    found = {}
    for link, text in page.links():
        match = NUMBER.fullmatch(text)
        parts = urllib.parse.urlsplit(link)
        if match and re.fullmatch(r"/(machines|updates)(/[^/]+)?", parts.path):
            number = int(match[1].replace(",", ""))
            found[f"{parts.path}.csv{parts.query and '?'}{parts.query}"] = (number, text)
    return found


def check_numbers(site, pages):
    """Checks that every number on a page is a link to exactly the rows that it counts."""
    followed = 0
    for name, path in pages.items():
        remaining = list(numbers(site.get(path)))[:MOST_NUMBERS]
        amount = len(remaining)
        for _ in range(ATTEMPTS):
            shown = numbers(site.get(path))
            wrong = {}
            for download in remaining:
                rows = site.rows(download)
                # The row of a machine that misses nothing is no missing update.
                count = sum(row["kb"] != "" for row in rows) if "/machines/" in download else len(rows)
                if download in shown and shown[download][0] != count:
                    wrong[download] = (shown[download], count)
            remaining = list(wrong)
            if not wrong:
                break
        check(not wrong, f"{name}: {amount} numbers are the numbers of rows behind them: {dict(list(wrong.items())[:5])}")
        followed += amount
    check(followed > 50, f"{followed} numbers are followed")


def timed(action):
    """The seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def check_speed(site, pages, most):
    """Measures pages of a large fleet, and scrapes while pages are made. `most` seconds are allowed for a page."""

    def scrape():
        return timed(lambda: site.get("/metrics?detail=fleet"))

    alone = statistics.median(scrape() for _ in range(20))
    meanwhile, over = [], threading.Event()

    def scrape_on():
        while not over.wait(0.02):
            meanwhile.append(scrape())

    scraping = threading.Thread(target=scrape_on)
    scraping.start()
    try:
        for name, path in pages.items():
            first = timed(lambda path=path: site.get(path))
            times = sorted(timed(lambda path=path: site.get(path)) for _ in range(9))
            middle = statistics.median(times)
            size = len(site.get(path).body)
            text = f"{name}: {1000 * middle:.0f} ms at the median, {1000 * times[-1]:.0f} ms at most, the first {1000 * first:.0f} ms"
            check(middle < most, f"{text}, {size:,} bytes")
    finally:
        over.set()
        scraping.join()
    slow = statistics.median(meanwhile)
    text = f"{len(meanwhile)} scrapes beside the pages take {1000 * slow:.0f} ms, {1000 * max(meanwhile):.0f} ms at most"
    check(slow < alone + most / 2, f"{text}, and {1000 * alone:.0f} ms alone")
