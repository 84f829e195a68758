//! The section `auth`: exactly one way to have a token, and only where its secret is.

use std::path::Path;

use super::section::{MapReader, ValueReader};
use super::tenant::{GUID_ALLOWED, guid, path};
use super::{Auth, SecretSource};

const SECRET_FILE: &str = "client_secret_file";
const SECRET_ENVIRONMENT: &str = "client_secret_env";
const CERTIFICATE_FILE: &str = "client_certificate_file";
const MANAGED_IDENTITY: &str = "managed_identity";
const WORKLOAD_IDENTITY: &str = "workload_identity";

const ALLOWED: &str = "exactly one of client_secret_file, client_secret_env, client_certificate_file, \
                       managed_identity, workload_identity is allowed";

/// What the tenant's `client_id` is to its credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientId {
    Required,
    Unused,
    /// A managed identity is among several credentials: too wrong to tell.
    Undecided,
}

/// What a tenant's `auth` says.
pub(super) struct Choice {
    /// The credential; none when something is wrong with it.
    pub(super) auth: Option<Auth>,
    /// What the tenant's own `client_id` is to it.
    pub(super) client_id: ClientId,
}

pub(super) fn read(field: &ValueReader<'_>, folder: &Path) -> Choice {
    let Some(section) = field.section() else {
        return Choice { auth: None, client_id: ClientId::Required };
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
        (2.., Some(_)) => ClientId::Undecided,
        (_, None) => ClientId::Required,
        (_, Some(_)) => ClientId::Unused,
    };
    judge_count(&section, &given);
    section.finish();

    // Each is read even when there are too many, to report what is wrong in them too.
    let read = [
        secret_file.and_then(|field| Some(Auth::ClientSecret(SecretSource::File(path(&field, folder)?)))),
        secret_environment.and_then(|field| {
            let name = field.text(variable_name)?;
            Some(Auth::ClientSecret(SecretSource::Environment(name)))
        }),
        certificate.and_then(|field| Some(Auth::ClientCertificate(path(&field, folder)?))),
        managed.and_then(|field| managed_identity(&field)),
        workload.and_then(|field| workload_identity(&field, folder)),
    ];
    Choice { auth: read.into_iter().flatten().next(), client_id }
}

fn judge_count(section: &MapReader<'_>, given: &[&str]) {
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
    let token_file = section.optional_or("token_file", allowed, None, |field| path(field, folder).map(Some));
    section.finish();
    Some(Auth::WorkloadIdentity { token_file: token_file? })
}

/// POSIX, Base Definitions, section 8.1, with lower case let through as every shell does. Also keeps a
/// secret itself from being taken for a name.
fn variable_name(text: &str) -> Result<String, &'static str> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(inner);
    fits.then(|| text.to_owned()).ok_or("is not the name of a variable")
}
