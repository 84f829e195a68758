//! Advice for the error codes of Entra that concern the client credentials flow.
//!
//! Microsoft warns that the codes may change
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>). Other codes are explained
//! at `https://login.microsoftonline.com/error?code=` and the number.

/// The advice for the code `AADSTS` with these digits.
pub(super) fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        // The secret.
        "7000215" => {
            "wrong client secret; check that it is the secret's value and not its id. Create a new one under \
             Certificates & secrets of the application if the value is lost"
        }
        "7000222" => {
            "the client secret has expired; create a new one under Certificates & secrets of the application"
        }
        "7000216" | "7000218" => "Entra received no secret and no assertion; check auth",

        // The certificate or the federated token.
        "700027" | "50012" => {
            "the certificate is not registered with the application; upload it under Certificates & secrets"
        }
        "1000502" | "7000274" => {
            "the client certificate has expired or is not valid yet; upload a new one under Certificates & \
             secrets, and put it with its key into client_certificate_file"
        }
        "7000214" | "7000277" => {
            "the client certificate was revoked; upload a new one under Certificates & secrets"
        }
        "700021" => "client_id does not match the assertion",
        "700023" => "the assertion is for another token URL; check authority_url and tenant_id",
        "700024" | "500133" => {
            "the assertion has expired or is not valid yet; check the clock of this machine. A federated token \
             may also be too old: check that its file is still renewed"
        }
        "50013" | "50027" => "the assertion cannot be read; check the file that auth names",
        "70025" => "the application has no federated credential; add one under Certificates & secrets",
        "70021" | "700211" | "700212" | "700213" => {
            "no federated credential of the application has this issuer, subject and audience"
        }

        // The application.
        "700016" => "check client_id and tenant_id: this tenant does not know the application",
        "7000229" => {
            "the application is registered, but not in this tenant; check tenant_id, or give admin consent \
             there, which adds it"
        }
        "7000112" => "the application is disabled in this tenant; see Enterprise applications > Properties",
        "501051" | "50105" => {
            "the application is not assigned to the API; see Enterprise applications > Properties > \
             Assignment required"
        }
        "65001" | "90094" => {
            "admin consent is missing; see API permissions of the application > Grant admin consent"
        }

        // The tenant and its cloud.
        "90002" | "900023" => "check tenant_id and cloud: there is no such tenant",
        "90038" | "900382" | "900432" | "900439" | "900440" => {
            "the tenant or the application is in another cloud; set cloud, and drop authority_url, api_url and \
             scope"
        }
        "50059" | "50194" | "9001023" => "tenant_id must name one tenant",

        // The API that the token is for.
        "70011" | "1002012" | "28002" => "check scope and cloud: the scope is not valid",
        "500011" | "50001" | "650057" => {
            "check scope and cloud: the tenant may not have Defender for Endpoint, or this is another tenant"
        }
        "500014" | "650052" => {
            "Defender for Endpoint is disabled in this tenant, or its subscription has lapsed"
        }

        // Rules of the organisation.
        "53003" | "530034" | "53000" | "53001" => {
            "a Conditional Access policy blocks the application; its owner finds this attempt in the sign-in \
             logs of service principals"
        }
        "500021" | "500022" => "a proxy allows other tenants only (tenant restrictions)",

        // Transient errors.
        "90033" | "90006" | "90012" | "90024" | "90090" | "50000" => "Entra has a problem; try again later",
        "90055" => "too many token requests for this application",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_have_advice_of_one_log_line() {
        assert_eq!(advice("1"), None);
        assert_eq!(advice(""), None);
        for code in [
            "7000215", "7000222", "700024", "700027", "1000502", "700016", "90002", "900382", "900439",
            "900440", "53003",
        ] {
            let advice = advice(code).unwrap();
            assert!(advice.len() < 200 && !advice.contains("  ") && !advice.ends_with('.'), "{advice}");
        }
    }
}
