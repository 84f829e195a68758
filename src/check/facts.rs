//! The facts file and the sources of facts.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::report::{CheckSection, StepOutcome};
use crate::error::Chain;
use crate::facts::disk::{self, FactsFileError};
use crate::facts::fetch::Fetcher;
use crate::facts::{Facts, FactsSettings, SourceError};
use crate::model::FactsSource;

/// Time limit of a request, even if `http.timeout` is longer.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// Reads the facts file, and sends one request to each source unless something else brings the file. Only the heads of
/// the replies are read. Also returns the facts in the file; the default without a usable file.
pub async fn facts(settings: FactsSettings) -> (CheckSection, Arc<Facts>) {
    let mut section = CheckSection::new("facts");
    let settings = settings.with_timeout_within(LONGEST_REQUEST);
    let is_updated = settings.config().update.is_some();
    let reading = tokio::task::spawn_blocking(move || {
        let facts = disk::load(settings.file()).map(|file| settings.facts_in(file));
        (facts, settings.fetcher(), settings)
    });
    let (facts, fetcher, settings) =
        reading.await.expect("Safe: reading does not panic and is never aborted");
    let (outcome, text) = judge_file(facts.as_deref().map(Facts::len), &settings);
    section.add("file", outcome, &text);
    let facts = facts.unwrap_or_default();
    if !is_updated {
        return (section, facts);
    }
    match fetcher {
        Ok(fetcher) => {
            let sources: Vec<_> = settings.sources().collect();
            for (source, reply) in requests(&fetcher, &sources).await {
                match reply {
                    Ok(()) => section.add(source.as_str(), StepOutcome::Ok, "the host has the data"),
                    Err(error) => section.add(source.as_str(), StepOutcome::Failed, &failed(source, &error)),
                }
            }
        }
        Err(error) => section.add("connection", StepOutcome::Failed, &Chain(&error).to_string()),
    }
    (section, facts)
}

fn judge_file(file: Result<usize, &FactsFileError>, settings: &FactsSettings) -> (StepOutcome, String) {
    let path = settings.file().display();
    let is_updated = settings.config().update.is_some();
    match file {
        Ok(kbs) => (StepOutcome::Ok, format!("`{path}` has facts about {kbs} KBs")),
        Err(FactsFileError::Missing { .. }) if is_updated => {
            (StepOutcome::Ok, format!("`{path}` does not exist yet; the exporter makes it"))
        }
        Err(error) if is_updated => {
            (StepOutcome::Warning, format!("{} [the exporter makes a new one]", Chain(error)))
        }
        Err(error) => {
            let advice = "facts.update is off, so something else has to bring it: `mde_exporter facts update` makes it";
            (StepOutcome::Failed, format!("{} [{advice}]", Chain(error)))
        }
    }
}

/// Sends all requests at the same time, and returns the outcomes in the order of the sources.
async fn requests(fetcher: &Fetcher, sources: &[FactsSource]) -> Vec<(FactsSource, Result<(), SourceError>)> {
    let mut requests = JoinSet::new();
    for &source in sources {
        let fetcher = fetcher.clone();
        requests.spawn(async move { (source, fetcher.open(source, probe(source)).await.map(drop)) });
    }
    let mut replies = requests.join_all().await;
    replies.sort_by_key(|(source, _)| *source);
    replies
}

/// The path of the request below the URL of the source.
fn probe(source: FactsSource) -> &'static [&'static str] {
    match source {
        FactsSource::Msrc => &["updates"],
        FactsSource::Kev | FactsSource::Epss => &[],
        FactsSource::Servicing => &["windows"],
    }
}

fn failed(source: FactsSource, error: &SourceError) -> String {
    let text = Chain(error).to_string();
    // Errors of connections include their own advice.
    if text.ends_with(']') {
        return text;
    }
    format!(
        "{text} [check facts.sources.{source}; a mirror can replace the host, and `off` turns the source off]"
    )
}
