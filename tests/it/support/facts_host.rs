//! A host of every source of facts. A test chooses its documents, and each reply byte by byte.

use mde_exporter::config::{FactsConfig, FactsUrls};
use serde_json::{Value, json};

use super::export_server::{ExportHost, Reply, gzip};

pub(crate) const INDEX: &str = "/cvrf/v3.0/updates";
pub(crate) const KEV: &str = "/kev.json";
pub(crate) const EPSS: &str = "/epss.csv.gz";
pub(crate) const WINDOWS: &str = "/products/windows";
pub(crate) const WINDOWS_SERVER: &str = "/products/windows-server";

/// A release document of some KBs.
#[derive(Clone, Debug)]
pub(crate) struct TestDocument {
    pub(crate) id: String,
    pub(crate) revision: u32,
    /// The time of the last change, without a zone.
    pub(crate) current: String,
    pub(crate) kbs: Vec<u32>,
}

impl TestDocument {
    pub(crate) fn new(id: &str, current: &str, kbs: impl IntoIterator<Item = u32>) -> Self {
        Self { id: id.to_owned(), revision: 10, current: current.to_owned(), kbs: kbs.into_iter().collect() }
    }

    pub(crate) fn path(&self) -> String {
        format!("/cvrf/v3.0/cvrf/{}", self.id)
    }

    /// The CVRF document; each KB fixes one CVE.
    pub(crate) fn json(&self) -> Value {
        let vulnerability = |kb: &u32| {
            json!({
                "CVE": cve(*kb),
                "Threats": [
                    {"Type": 3, "ProductID": ["1"], "Description": {"Value": "Important"}},
                    {"Type": 1, "Description": {"Value": "Publicly Disclosed:No;Exploited:No"}},
                ],
                "CVSSScoreSets": [{"BaseScore": 7.5, "Vector": "", "ProductID": ["1"]}],
                "Remediations": [{"Type": 2, "Description": {"Value": kb.to_string()}, "ProductID": ["1"]}],
                "RevisionHistory": [{"Number": "1.0", "Date": self.current}],
            })
        };
        json!({
            "DocumentTitle": {"Value": "Security Updates"},
            "DocumentTracking": {
                "Identification": {"ID": {"Value": self.id}},
                "RevisionHistory": [{"Number": self.revision.to_string(), "Date": self.current}],
                "InitialReleaseDate": self.current,
                "CurrentReleaseDate": self.current,
            },
            "ProductTree": {"FullProductName": [{"ProductID": "1", "Value": "Windows 11"}]},
            "Vulnerability": self.kbs.iter().map(vulnerability).collect::<Vec<_>>(),
        })
    }

    fn entry(&self) -> Value {
        json!({
            "ID": self.id,
            "DocumentTitle": "Security Updates",
            "InitialReleaseDate": self.current,
            "CurrentReleaseDate": self.current,
            "CvrfUrl": "https://other.example/never-called",
        })
    }
}

/// The CVE that a KB of a [`TestDocument`] fixes.
pub(crate) fn cve(kb: u32) -> String {
    format!("CVE-2026-{kb}")
}

/// A KEV catalogue that lists the CVEs of these KBs.
pub(crate) fn kev(kbs: impl IntoIterator<Item = u32>) -> Value {
    let entry = |kb| json!({"cveID": cve(kb), "dateAdded": "2026-06-10", "dueDate": "2026-07-01", "knownRansomwareCampaignUse": "Unknown"});
    let entries: Vec<_> = kbs.into_iter().map(entry).collect();
    json!({"dateReleased": "2026-06-11T10:00:00.0Z", "count": entries.len(), "vulnerabilities": entries})
}

/// EPSS scores of the CVEs of these KBs, compressed.
pub(crate) fn epss(kbs: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let rows = kbs.into_iter().map(|kb| format!("{},0.5,0.9", cve(kb))).collect::<Vec<_>>().join("\n");
    gzip(
        format!("#model_version:v1,score_date:2026-06-11T00:00:00+0000\ncve,epss,percentile\n{rows}")
            .as_bytes(),
    )
}

pub(crate) fn servicing(product: &str) -> Value {
    let release = json!({
        "name": "11-24h2-w", "isLts": false, "eolFrom": "2026-10-13", "latest": {"name": "10.0.26100"}
    });
    json!({
        "last_modified": "2026-06-11T00:00:00+00:00",
        "result": {"name": product, "releases": [release]}
    })
}

/// A complete reply.
pub(crate) fn reply(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Complete(200, "", body.into())
}

pub(crate) fn json_reply(body: &Value) -> Reply {
    reply(body.to_string())
}

pub(crate) fn status(status: u16) -> Reply {
    Reply::Complete(status, "", b"<html>no</html>".to_vec())
}

/// Serves every source on one loopback port.
pub(crate) struct FactsHost(ExportHost);

impl FactsHost {
    /// A host with good data: these documents, and the other sources about KB 5000001.
    pub(crate) async fn start(documents: &[TestDocument]) -> Self {
        let host = Self(ExportHost::start().await);
        host.documents(documents);
        host.answer(KEV, [json_reply(&kev([5_000_001]))]);
        host.answer(EPSS, [reply(epss([5_000_001]))]);
        host.answer(WINDOWS, [json_reply(&servicing("windows"))]);
        host.answer(WINDOWS_SERVER, [json_reply(&servicing("windows-server"))]);
        host
    }

    /// Serves an index of these documents, and the documents.
    pub(crate) fn documents(&self, documents: &[TestDocument]) {
        let entries: Vec<_> = documents.iter().map(TestDocument::entry).collect();
        self.answer(INDEX, [json_reply(&json!({"value": entries}))]);
        for document in documents {
            self.answer(&document.path(), [json_reply(&document.json())]);
        }
    }

    /// Sets the next replies at `path`; the last one is repeated.
    pub(crate) fn answer(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.0.answer(path, replies);
    }

    /// Answers each request with a status.
    pub(crate) fn fail(&self, code: u16) {
        for path in [INDEX, KEV, EPSS, WINDOWS, WINDOWS_SERVER] {
            self.answer(path, [status(code)]);
        }
    }

    /// The number of requests for `path`.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.0.paths().iter().filter(|requested| *requested == path).count()
    }

    /// The paths of all requests so far, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.paths()
    }

    /// The heads of all requests, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.0.requests().into_iter().map(|request| request.head).collect()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.url)
    }

    /// A configuration with this host as every source.
    pub(crate) fn config(&self) -> FactsConfig {
        let url = |path: &str| Some(self.url(path).parse().unwrap());
        let sources = FactsUrls {
            msrc: url("/cvrf/v3.0"),
            kev: url(KEV),
            epss: url(EPSS),
            servicing: url("/products"),
        };
        FactsConfig { sources, ..FactsConfig::default() }
    }

    /// The section `facts` of a configuration file, with more keys.
    pub(crate) fn section(&self, more: &str) -> String {
        let url = |path: &str| self.url(path);
        format!(
            "facts: {{ {more}sources: {{ msrc: '{}', kev: '{}', epss: '{}', servicing: '{}' }} }}\n",
            url("/cvrf/v3.0"),
            url(KEV),
            url(EPSS),
            url("/products")
        )
    }
}
