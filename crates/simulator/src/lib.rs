//! A simulated Defender for Endpoint API and Entra authority, on loopback over https.
//!
//! It also serves documents about its KBs in the form of the public catalogues: CVRF, KEV, EPSS and the end
//! of servicing.
//!
//! The demo polls it, and the tests use it as a test double. It behaves like the real services: it enforces
//! tokens, roles and quotas, returns empty pages and repeated records, writes some fields in unusual types,
//! and sometimes answers 404 for a machine that exists. Tests inject further faults through [`Control`],
//! which also records every call.
//!
//! The fleet is a function of a seed and a simulated day: machines are patched at their own pace, and a new
//! batch of updates is released on each Update Tuesday. The simulator never reads the system clock:
//! timestamps come from [`Options::now`], and waiting and quotas use tokio's clock.
//!
//! The simulator writes its JSON by hand and does not depend on the exporter, so that a misspelt field cannot
//! be misspelt on both sides.
//!
//! ```text
//! client --https--> tls -> api    -> faults | authority | quota -> fleet <- calendar, updates
//!                       -> export -> faults | links             -> fleet
//!                       -> facts  -> faults                     -> calendar, updates
//! ```

mod api;
mod assertion;
mod authority;
mod calendar;
mod calls;
mod control;
mod default_record;
mod endpoint;
mod export;
mod export_versions;
mod facts;
mod fault_bodies;
mod faults;
mod fleet;
mod machine;
mod oauth_error;
mod odata;
mod oddities;
mod open_call;
mod options;
mod quota;
mod random;
mod record;
mod releases;
mod replies;
mod rollout;
mod secrets;
mod simulator;
mod state;
mod tls;
mod updates;

pub use calls::{Call, TokenRequest};
pub use control::{Control, InvalidCertificate};
pub use default_record::machine_record;
pub use endpoint::{Endpoint, QuotaPeriod};
pub use export::update_catalog::ExportedKb;
pub use faults::{Fault, Times};
pub use fleet::MissingKb;
pub use odata::NextLinks;
pub use options::{Now, Options, Patching, Realism};
pub use simulator::Simulator;

#[cfg(test)]
mod tests;
