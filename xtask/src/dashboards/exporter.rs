//! The dashboard `exporter.json`: does the exporter work, and is the data of the other dashboards fresh?

use crate::dashboards::bounds::{
    CERTIFICATE_SECS, CLIENT_CERTIFICATE_SECS, FACTS_OLD_SECS, NO_MACHINES, STALE_INTERVALS, STALE_LONG_SECS,
    UNKNOWN_SHARE,
};
use crate::dashboards::expression::{Filters, INSTANCE, JOB, TENANT};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};
use crate::dashboards::shared::{days_since, days_until, hours_since};

const FILTERS: Filters = &[JOB, INSTANCE, TENANT];

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-exporter",
        title: "Defender missing updates / Exporter",
        description: "The exporter itself: can the numbers of the other dashboards be trusted, and if \
                      not, what is the cause?",
        from: "now-24h",
        variables: Variable::common("mde_exporter_build_info"),
        filters: FILTERS,
        marks: Marks::None,
        rows: vec![
            Row { title: "Can the data be trusted?", shown: Shown::Open, panels: trust() },
            Row { title: "Polls", shown: Shown::Open, panels: polls() },
            Row { title: "Facts about updates", shown: Shown::Open, panels: facts() },
            Row { title: "Defender API", shown: Shown::Open, panels: api() },
            Row { title: "Series and scrapes", shown: Shown::Folded, panels: series() },
            Row { title: "Process, state and configuration", shown: Shown::Folded, panels: process() },
        ],
    }
}

fn trust() -> Vec<(u32, u32, Panel)> {
    let age = "time() - @mde_exporter_last_poll_success_timestamp_seconds";
    vec![
        (4, 4, Panel::stat(
            "Scraped",
            "Result of the last scrape of every exporter. Good: yes. Otherwise no dashboard shows fresh \
             data: check that the process runs and that its port is reachable.",
        ).query("min(@up)", "").value_text(1.0, "yes", Color::Good).value_text(0.0, "no", Color::Bad)),
        (4, 4, Panel::stat(
            "Tenants that fail",
            "Tenants whose API cannot be used now. Good: 0. The panel of failures below and the log show the \
             reason.",
        ).query("sum(@mde_up == bool 0)", "").bounds(Bounds::bad_from(1.0))),
        (4, 4, Panel::stat(
            "Age in poll intervals",
            "Time since the last good answer for the tenant that has had none for the longest time, in poll \
             intervals. Good: below 2; above 3 `MdeDataStale` fires.",
        ).query(format!("max(({age}) / @mde_exporter_poll_interval_seconds)"), "").decimals(1)
            .bounds(Bounds::falling_from(1.5, STALE_INTERVALS))),
        (4, 4, Panel::stat(
            "Unknown machines",
            "Share of the machines in scope that are unknown, without unsupported ones. Good: 0 after the \
             first poll of all machines; above 5 % `MdeCollectionIncomplete` fires.",
        ).query(
            "sum(@mde_assessed_machines{state=\"unknown\"}) \
             / (sum(@mde_assessed_machines{state!=\"unsupported\"}) > 0)",
            "",
        ).unit(Unit::Share).bounds(Bounds::falling(UNKNOWN_SHARE))),
        (4, 4, Panel::stat(
            "Series left out",
            "Series that are suppressed by the series limit. Good: 0. Otherwise raise `metrics.series_limit`, \
             choose a lower `metrics.detail`, or accept the detail level that is served.",
        ).query("sum(@mde_exporter_suppressed_series)", "").bounds(Bounds::warning_from(1.0))),
        (4, 4, Panel::stat(
            "Alerts",
            "Firing alerts of the exporter's rules, independent of the filters. Good: 0. Each alert has a \
             runbook.",
        ).query("count(ALERTS{alertname=~\"Mde.+\", alertstate=\"firing\"}) or vector(0)", "")
            .bounds(Bounds::warning_from(1.0))),
        (24, 7, tenants()),
        (12, 7, scope()),
        (12, 7, Panel::state_timeline(
            "API could be used",
            "Usability of the API of each tenant, as the exporter's calls show. Good: an unbroken line. Short \
             interruptions are failures of the API; a long one is caused by a credential, a role or the network.",
        ).query("min by (tenant) (@mde_up)", "{{tenant}}")
            .value_text(1.0, "up", Color::Good).value_text(0.0, "down", Color::Bad)),
        (12, 7, Panel::lines(
            "Machines waiting to be read",
            "Machines that are due: their poll interval has elapsed, or they were never read. Good: zero most of \
             the time. During a first poll the line falls steadily; a line that never reaches zero means that \
             the quota is too small for the interval.",
        ).query("sum by (tenant) (@mde_exporter_due_machines)", "{{tenant}}").above_zero()),
        (12, 7, Panel::stacked(
            "Machines by age of data",
            "The machines in scope without unsupported ones. Good: nearly all fresh. Stale means that a poll \
             failed or is late; unknown means that there is no data yet, or that it expired.",
        ).query("sum by (state) (@mde_assessed_machines{state!=\"unsupported\"})", "{{state}}")
            .color("fresh", Color::Neutral).color("stale", Color::Warning)
            .color("inactive", Color::Inactive).color("unknown", Color::Unknown)),
    ]
}

fn tenants() -> Panel {
    Panel::table(
        "Tenants",
        "One row for each tenant. Good: up, read within two intervals, and a next poll in the future. The age \
         of the source is the age of the bulk export, for tenants with `source: export`; after a day \
         `MdeExportSnapshotOld` fires. The certificate is that of the application, with \
         `auth.client_certificate_file`; below 30 days `MdeClientCertificateExpiring` fires. A negative time to \
         the next poll means that the current poll takes longer than planned.",
        vec![
            Column::label("tenant", "Tenant").grows(),
            Column::value("Value #A", "Up", Unit::Count).yes_or_no().bounds(Bounds::good_from(1.0)),
            Column::value("Value #B", "Last good answer", Unit::Hours)
                .bounds(Bounds::bad_from(STALE_LONG_SECS)),
            Column::value("Value #C", "Last answer", Unit::Hours),
            Column::value("Value #D", "Next poll in", Unit::Seconds),
            Column::value("Value #E", "Poll took", Unit::Seconds),
            Column::value("Value #F", "Age of source", Unit::Hours).bounds(Bounds::bad_from(STALE_LONG_SECS)),
            Column::value("Value #G", "Token valid for", Unit::Seconds),
            Column::value("Value #H", "Certificate valid for", Unit::Days).bounds(Bounds::rising(
                CLIENT_CERTIFICATE_SECS,
                2.0 * CLIENT_CERTIFICATE_SECS,
            )),
        ],
    )
    .query("min by (tenant) (@mde_up)", "")
    .query(hours_since("min by (tenant) (@mde_exporter_last_poll_success_timestamp_seconds)"), "")
    .query(hours_since("min by (tenant) (@mde_exporter_last_poll_timestamp_seconds)"), "")
    .query("min by (tenant) (@mde_exporter_next_poll_timestamp_seconds) - time()", "")
    .query("max by (tenant) (@mde_exporter_last_poll_duration_seconds)", "")
    .query(hours_since("min by (tenant) (@mde_exporter_source_snapshot_timestamp_seconds)"), "")
    .query("min by (tenant) (@mde_exporter_token_expiry_timestamp_seconds) - time()", "")
    .query(days_until("min by (tenant) (@mde_exporter_client_certificate_expiry_timestamp_seconds)"), "")
}

fn scope() -> Panel {
    Panel::table(
        "Scope",
        "The machines that the selectors of each tenant choose. Good: the number that you expect, and no \
         selector without a machine. Without a machine that could be judged, `MdeNothingInScope` fires. \
         Unsupported machines, such as phones, are counted apart.",
        vec![
            Column::label("tenant", "Tenant").grows(),
            Column::value("Value #A", "Machines", Unit::Count).bounds(Bounds::good_above(NO_MACHINES)),
            Column::value("Value #B", "Unsupported", Unit::Count),
            Column::value("Value #C", "Waiting", Unit::Count),
            Column::value("Value #D", "Unused selectors", Unit::Count).bounds(Bounds::warning_from(1.0)),
        ],
    )
    .query(
        "sum by (tenant) (@mde_assessed_machines{state!=\"unsupported\"}) or sum by (tenant) (0 * @mde_up)",
        "",
    )
    .query("sum by (tenant) (@mde_assessed_machines{state=\"unsupported\"})", "")
    .query("sum by (tenant) (@mde_exporter_due_machines)", "")
    .query("max by (tenant) (@mde_exporter_unmatched_selectors)", "")
}

/// The increase of a counter within a step of the panel.
fn events(by: &str, counter: &str) -> String {
    format!("sum by ({by}) (increase({counter}[$__rate_interval]))")
}

fn polls() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::lines(
            "Duration of a poll against its interval",
            "Duration of the last poll, the configured interval, and the shortest interval that the quota \
             allows. Good: duration and possible interval are below the configured one. Otherwise raise \
             `poll.interval` or use `source: export`.",
        ).query("max by (tenant) (@mde_exporter_last_poll_duration_seconds)", "{{tenant}} took")
            .query("max by (tenant) (@mde_exporter_poll_interval_seconds)", "{{tenant}} interval")
            .query("max by (tenant) (@mde_exporter_possible_poll_interval_seconds)", "{{tenant}} possible")
            .unit(Unit::Seconds).above_zero()),
        (8, 8, Panel::bars(
            "Failures by reason",
            "Failed fetches of a machine list, of a machine, or of a whole tenant. Good: none, or a few \
             `not_found` that come and go. `token`, `unauthorized` and `forbidden` need a change in Entra; \
             `throttled` means that other clients use the quota too.",
        ).query(events("tenant, reason", "@mde_exporter_poll_failures_total") + " > 0", "{{tenant}} {{reason}}")
            .nothing("no failure")),
        (8, 8, Panel::bars(
            "Rejected records and lists",
            "Records that could not be used, duplicate records, and lists that were rejected as implausible. \
             Good: none. A few invalid records are normal for the API; a rejected list is fetched again five \
             minutes later.",
        ).query(events("tenant, reason", "@mde_exporter_rejected_records_total") + " > 0", "{{tenant}} record {{reason}}")
            .query(events("tenant", "@mde_exporter_duplicate_records_total") + " > 0", "{{tenant}} duplicate")
            .query(events("tenant, reason", "@mde_exporter_rejected_snapshots_total") + " > 0", "{{tenant}} list {{reason}}")
            .nothing("none")),
    ]
}

fn facts() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::table(
            "Sources of facts",
            "One row for each source that is loaded: Microsoft's documents, KEV, EPSS, end of servicing. Good: all four, \
             fetched within a day; after three days `MdeFactsOld` fires. A source that is missing here was never loaded: \
             what it would tell is unknown. Nothing is shown while `facts` are off.",
            vec![
                Column::label("source", "Source").grows(),
                Column::value("Value #A", "Last fetched", Unit::Days).bounds(Bounds::bad_from(FACTS_OLD_SECS)),
                Column::value("Value #B", "Published", Unit::Days),
            ],
        ).query(days_since("min by (source) (@mde_exporter_facts_last_success_timestamp_seconds)"), "")
            .query(days_since("min by (source) (@mde_exporter_facts_timestamp_seconds)"), "")
            .nothing("no facts")),
        (8, 8, Panel::lines(
            "Updates with and without facts",
            "KBs that the facts know, and missing KBs without facts. Good: thousands with facts, and no missing KB \
             without, or a few: Microsoft's documents never contain every KB.",
        ).query("min(@mde_exporter_facts_updates)", "with facts")
            .query("max(@mde_exporter_facts_unknown_updates)", "missing and without facts").above_zero()
            .color("missing and without facts", Color::Warning).nothing("no facts")),
        (8, 8, Panel::bars(
            "Failures of facts",
            "Facts that could not be fetched, read or written, by source and reason. Good: none. The old facts stay in \
             use; the log has the details.",
        ).query(events("source, reason", "@mde_exporter_facts_failures_total") + " > 0", "{{source}} {{reason}}")
            .nothing("no failure")),
    ]
}

fn api() -> Vec<(u32, u32, Panel)> {
    let errors = "sum(rate(@mde_exporter_api_requests_total{code!~\"2..\"}[$__rate_interval]))";
    let latency = |quantile: f64| {
        format!(
            "histogram_quantile({quantile}, sum by (le) \
             (rate(@mde_exporter_api_request_duration_seconds_bucket[$__rate_interval])))"
        )
    };
    vec![
        (8, 8, Panel::lines(
            "Requests by status",
            "Requests to the Defender API per second; `error` is a request without a reply. Good: nearly all \
             are 200. 401 and 403 point to credentials and roles, 404 to machines that Defender has deleted, \
             429 to the quota.",
        ).query("sum by (code) (rate(@mde_exporter_api_requests_total[$__rate_interval]))", "{{code}}")
            .unit(Unit::Rate).above_zero()),
        (8, 8, Panel::lines(
            "Share of requests that fail",
            "Share of the replies that are not 2xx. Good: below 1 %. Nothing is drawn while there are no \
             requests, which is most of the time in a small fleet.",
        ).query(format!("{errors} / (sum(rate(@mde_exporter_api_requests_total[$__rate_interval])) > 0)"), "failing")
            .unit(Unit::Share).nothing("no requests")),
        (8, 8, Panel::lines(
            "Latency",
            "Time to a complete reply of the Defender API. Good: below a second for 90 % of the requests. \
             Slow replies make a poll longer; above `http.timeout` they are failures.",
        ).query(latency(0.5), "median").query(latency(0.9), "90 %").query(latency(0.99), "99 %")
            .query(
                "sum(rate(@mde_exporter_api_request_duration_seconds_sum[$__rate_interval])) \
                 / sum(rate(@mde_exporter_api_request_duration_seconds_count[$__rate_interval]))",
                "mean",
            ).unit(Unit::Seconds).above_zero().nothing("no requests")),
        (8, 8, Panel::lines(
            "Quota",
            "Requests within the last minute and hour, as a share of the quota that the exporter uses. Good: \
             at most 1. A line that stays at 1 means that the fleet needs the whole quota: raise \
             `poll.interval`, or use `source: export`.",
        ).query(
            "max by (tenant, window) (@mde_exporter_api_quota_used_requests / @mde_exporter_api_quota_requests)",
            "{{tenant}} {{window}}",
        ).unit(Unit::Share)),
        (8, 8, Panel::bars(
            "Throttling and retries",
            "Replies 429, requests that were retried, and seconds for which requests were delayed. Good: no \
             429. Delays are normal while a large fleet is read.",
        ).query(events("tenant", "@mde_exporter_api_throttled_responses_total"), "{{tenant}} 429")
            .query(events("tenant", "@mde_exporter_api_retries_total"), "{{tenant}} retries")
            .query(events("tenant", "@mde_exporter_api_throttle_wait_seconds_total"), "{{tenant}} seconds delayed")),
        (8, 8, Panel::bars(
            "Tokens",
            "Access tokens from Entra, and failed attempts to get one. Good: about one per hour and no \
             failure. For a failure, the log contains the AADSTS code: an expired secret, a missing consent, \
             a wrong id.",
        ).query(events("tenant", "@mde_exporter_token_refreshes_total"), "{{tenant}} taken")
            .query(events("tenant", "@mde_exporter_token_refresh_failures_total"), "{{tenant}} failed")),
    ]
}

fn series() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::lines(
            "Series by level",
            "Series of fleet data that are served, and the limit (0: no limit). Good: the sum stays below the \
             limit. It grows with the number of machines, and at the update level with the missing updates.",
        ).query("sum by (detail) (@mde_exporter_series)", "{{detail}}")
            .query("max(@mde_exporter_series_limit)", "limit").above_zero()),
        (8, 8, Panel::bar_gauge(
            "Detail level",
            "Deepest detail level that is served. Good: the one that you configured. A lower level than \
             `metrics.detail` means that the series limit is too small for it.",
        ).query("max by (detail) (@mde_exporter_detail_level)", "{{detail}}").above_zero()),
        (8, 8, Panel::bar_gauge(
            "Size",
            "Size in bytes of an exposition of fleet data. Good: below the `body_size_limit` of the scrape.",
        ).query("max by (format, encoding) (@mde_exporter_exposition_bytes)", "{{format}} {{encoding}}")
            .unit(Unit::Bytes).above_zero()),
        (8, 8, Panel::lines(
            "Rendering",
            "Time to render and compress the fleet data. It is rendered once for each change, not for each \
             scrape. Good: below a second, independent of the size of the fleet.",
        ).query(
            "sum by (instance) (rate(@mde_exporter_render_duration_seconds_sum[$__rate_interval])) \
             / (sum by (instance) (rate(@mde_exporter_render_duration_seconds_count[$__rate_interval])) > 0)",
            "{{instance}}",
        ).unit(Unit::Seconds).above_zero()),
        (8, 8, Panel::lines(
            "Scrape",
            "Duration of a scrape as Prometheus measures it, including the network. Good: far below the \
             scrape timeout.",
        ).query("@scrape_duration_seconds", "{{instance}}").unit(Unit::Seconds).above_zero()),
        (8, 8, Panel::lines(
            "Samples of a scrape",
            "Samples that Prometheus receives and keeps. Good: below `sample_limit`; above it, Prometheus \
             drops the whole scrape. The exporter's own metrics are not counted in `metrics.series_limit`.",
        ).query("@scrape_samples_scraped", "{{instance}} got")
            .query("@scrape_samples_post_metric_relabeling", "{{instance}} kept").above_zero()),
        (8, 8, Panel::lines(
            "Requests to the exporter",
            "Requests to the exporter, by path and status. Good: 200, at the rate of the scrapes. 401 is a \
             wrong password, 503 means too many concurrent scrapes.",
        ).query("sum by (path, code) (rate(@mde_exporter_http_requests_total[$__rate_interval])) > 0", "{{path}} {{code}}")
            .unit(Unit::Rate).above_zero()),
        (8, 8, Panel::lines(
            "Time to answer",
            "Time within which 99 % of the requests were answered, measured by the exporter. Good: \
             milliseconds, independent of the size of the fleet, because the body is already rendered.",
        ).query(
            "histogram_quantile(0.99, sum by (le) \
             (rate(@mde_exporter_http_request_duration_seconds_bucket[$__rate_interval])))",
            "99 %",
        ).unit(Unit::Seconds).above_zero()),
    ]
}

fn process() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::lines(
            "Memory",
            "Resident memory of the exporter. Good: constant. It grows with the fleet, not with time; 100,000 \
             machines take about 300 MiB with the default limit.",
        ).query("@process_resident_memory_bytes", "{{instance}}").unit(Unit::Bytes).above_zero()),
        (8, 8, Panel::lines(
            "Processor",
            "Share of one processor core that the exporter uses. Good: almost zero between two polls.",
        ).query("rate(@process_cpu_seconds_total[$__rate_interval])", "{{instance}}").unit(Unit::Share)),
        (8, 8, Panel::lines(
            "Open files",
            "Open files and sockets, as a share of the limit of the system. Good: a few percent. Growth over \
             days means that clients keep connections open.",
        ).query("@process_open_fds / @process_max_fds", "{{instance}}").unit(Unit::Share)),
        (8, 8, Panel::bars(
            "State on disk",
            "Changes of the state that were written to disk, and that could not be written. Good: no failure. \
             After a failure, check for a full disk or missing permissions: first-seen times since then are \
             lost at a restart.",
        ).query(events("instance", "@mde_exporter_state_writes_total"), "{{instance}} written")
            .query(events("instance", "@mde_exporter_state_write_failures_total"), "{{instance}} failed")
            .color("failed", Color::Bad)),
        (8, 8, Panel::bars(
            "Log lines",
            "Lines that the exporter has logged, by level. Good: no errors and few warnings; a poll without \
             events is one line. Read the log when the number grows. Lines are dropped when nobody reads \
             stderr in time.",
        ).query(events("level", "@mde_exporter_log_messages_total"), "{{level}}")
            .query("sum(increase(@mde_exporter_log_messages_dropped_total[$__rate_interval]))", "dropped")
            .color("error", Color::Bad).color("warn", Color::Warning)
            .color("info", Color::Neutral).color("debug", Color::Inactive)),
        (24, 7, Panel::table(
            "Exporters",
            "Every exporter that is scraped. Good: one version, a configuration that was applied, and state \
             that was found at start. The certificate is that of the exporter's own web server, if TLS is \
             enabled; below 14 days `MdeWebCertificateExpiring` fires.",
            vec![
                Column::label("instance", "Exporter").grows(),
                Column::label("version", "Version"),
                Column::value("Value #B", "Configuration valid", Unit::Count).yes_or_no().bounds(Bounds::good_from(1.0)),
                Column::value("Value #C", "Configuration age", Unit::Days),
                Column::value("Value #D", "State found", Unit::Count).yes_or_no(),
                Column::value("Value #E", "Up for", Unit::Days),
                Column::value("Value #F", "Certificate valid for", Unit::Days).bounds(Bounds::rising(
                    CERTIFICATE_SECS,
                    2.0 * CERTIFICATE_SECS,
                )),
            ],
        ).query("max by (instance, version) (@mde_exporter_build_info)", "")
            .query("min by (instance) (@mde_exporter_config_last_reload_successful)", "")
            .query(days_since("max by (instance) (@mde_exporter_config_last_reload_success_timestamp_seconds)"), "")
            .query("max by (instance) (@mde_exporter_state_restored)", "")
            .query(days_since("max by (instance) (@process_start_time_seconds)"), "")
            .query(days_until("min by (instance) (@mde_exporter_web_certificate_expiry_timestamp_seconds)"), "")
            .without(&["Value #A"])),
    ]
}
