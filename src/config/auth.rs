//! The section `auth`: exactly one credential, and only the place of its secret.

use std::path::{Path, PathBuf};

use super::problem::InputPlace;
use super::reader::{MapReader, ValueReader};
use super::values::{GUID_ALLOWED, guid, path};
use super::{Auth, SecretSource};

const SECRET_FILE: &str = "client_secret_file";
const SECRET_ENVIRONMENT: &str = "client_secret_env";
const CERTIFICATE_FILE: &str = "client_certificate_file";
const MANAGED_IDENTITY: &str = "managed_identity";
const WORKLOAD_IDENTITY: &str = "workload_identity";

const ALLOWED: &str = "exactly one of client_secret_file, client_secret_env, client_certificate_file, \
                       managed_identity, workload_identity is allowed";

/// Use of the tenant's `client_id` by its credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientIdUse {
    Required,
    Unused,
    /// Several credentials are given, one of them a managed identity.
    Undecided,
}

/// The content of a tenant's `auth`.
pub(super) struct AuthSection {
    /// The credential; none if it has a problem.
    pub(super) auth: Option<Auth>,
    /// Use of the tenant's own `client_id`.
    pub(super) client_id: ClientIdUse,
}

pub(super) fn read(field: &ValueReader<'_>, folder: &Path) -> AuthSection {
    let Some(section) = field.section() else {
        return AuthSection { auth: None, client_id: ClientIdUse::Required };
    };
    let secret_file = section.optional(SECRET_FILE, "the path of a file is allowed");
    let secret_environment =
        section.optional(SECRET_ENVIRONMENT, "the name of an environment variable is allowed");
    let certificate = section.optional(CERTIFICATE_FILE, "the path of a PEM file is allowed");
    let managed = section.optional(MANAGED_IDENTITY, "{} or { client_id: ... } is allowed");
    let workload = section.optional(WORKLOAD_IDENTITY, "{} or { token_file: ... } is allowed");

    let given: Vec<&str> = [
        (SECRET_FILE, &secret_file),
        (SECRET_ENVIRONMENT, &secret_environment),
        (CERTIFICATE_FILE, &certificate),
        (MANAGED_IDENTITY, &managed),
        (WORKLOAD_IDENTITY, &workload),
    ]
    .into_iter()
    .filter_map(|(key, field)| field.as_ref().map(|_| key))
    .collect();
    let client_id = match (given.len(), &managed) {
        (2.., Some(_)) => ClientIdUse::Undecided,
        (_, None) => ClientIdUse::Required,
        (_, Some(_)) => ClientIdUse::Unused,
    };
    check_count(&section, &given);
    section.finish();

    // Every credential is read, to report the problems of each.
    let read = [
        secret_file.and_then(|field| Some(Auth::ClientSecret(SecretSource::File(file(&field, folder)?)))),
        secret_environment.and_then(|field| {
            let name = field.text(variable_name)?;
            field.names_input(InputPlace::Variable(name.clone()));
            Some(Auth::ClientSecret(SecretSource::Environment(name)))
        }),
        certificate.and_then(|field| Some(Auth::ClientCertificate(file(&field, folder)?))),
        managed.and_then(|field| managed_identity(&field)),
        workload.and_then(|field| workload_identity(&field, folder)),
    ];
    AuthSection { auth: read.into_iter().flatten().next(), client_id }
}

fn check_count(section: &MapReader<'_>, given: &[&str]) {
    match given {
        [] => section.problem("no credential is given", ALLOWED),
        [_] => {}
        several => {
            let what = format!("several credentials are given: {}", several.join(", "));
            section.problem(what, ALLOWED);
        }
    }
}

fn managed_identity(field: &ValueReader<'_>) -> Option<Auth> {
    let section = field.section()?;
    let client_id = section.optional_or("client_id", GUID_ALLOWED, None, |field| field.text(guid).map(Some));
    section.finish();
    Some(Auth::ManagedIdentity { client_id: client_id? })
}

fn workload_identity(field: &ValueReader<'_>, folder: &Path) -> Option<Auth> {
    let section = field.section()?;
    let allowed = "the path of a file is allowed; the default is what AZURE_FEDERATED_TOKEN_FILE names";
    let token_file = if let Some(field) = section.optional("token_file", allowed) {
        file(&field, folder).map(Some)
    } else {
        field.names_input(InputPlace::FileOfVariable("AZURE_FEDERATED_TOKEN_FILE"));
        Some(None)
    };
    section.finish();
    Some(Auth::WorkloadIdentity { token_file: token_file? })
}

/// Reads the path of a file that the exporter reads.
pub(super) fn file(field: &ValueReader<'_>, folder: &Path) -> Option<PathBuf> {
    let path = path(field, folder)?;
    field.names_input(InputPlace::File(path.clone()));
    Some(path)
}

/// The name of an environment variable by POSIX, Base Definitions, section 8.1; lower case is accepted, as
/// by every shell. A secret that was written here by mistake is usually rejected.
fn variable_name(text: &str) -> Result<String, &'static str> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(inner);
    fits.then(|| text.to_owned()).ok_or("is not the name of a variable")
}
