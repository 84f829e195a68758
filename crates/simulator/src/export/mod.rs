//! The bulk export `SoftwareVulnerabilitiesExport`: a list of links, and the files that the links lead to.
//!
//! The list belongs to the API, with a token, a role and a quota. The files are in a store on another port,
//! which accepts no token. A file contains a row per machine, software and CVE, so a client has to collect
//! the missing updates of a machine from several rows. As in the real export, the data is that of an export
//! version: it describes the simulated day on which the version was created, however late it is read. Updates
//! that a test sets for a machine appear at once.
//!
//! The export has the shape of a real one and not its size: of an update that fixes a hundred CVEs, only
//! [`Options::rows_per_update`](crate::Options::rows_per_update) are listed.
//!
//! ```text
//! list:  export_versions -> links         file:  blob -> files -> machine_rows -> rows
//!                                          exported_machine, update_catalog
//! ```

pub(crate) mod blob;
mod exported_machine;
mod faults;
mod files;
pub(crate) mod list;
mod machine_rows;
mod rows;
pub(crate) mod update_catalog;
