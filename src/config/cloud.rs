//! The properties of a cloud: hosts, scope, and the hosts that may receive a token.
//!
//! The hosts of the government clouds are from Microsoft's page "Microsoft Defender for Endpoint for US
//! Government customers" (defender-endpoint/gov), the geographic hosts of the public cloud from
//! "Supported Microsoft Defender for Endpoint APIs".

use super::Cloud;

impl Cloud {
    /// Every cloud, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Commercial, Self::Gcc, Self::GccHigh, Self::Dod];

    /// The cloud's name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commercial => "commercial",
            Self::Gcc => "gcc",
            Self::GccHigh => "gcc_high",
            Self::Dod => "dod",
        }
    }

    /// Default of `authority_url`. GCC tenants use the public Entra.
    #[must_use]
    pub fn authority_url(self) -> &'static str {
        match self {
            Self::Commercial | Self::Gcc => "https://login.microsoftonline.com",
            Self::GccHigh | Self::Dod => "https://login.microsoftonline.us",
        }
    }

    /// Default of `api_url`.
    #[must_use]
    pub fn api_url(self) -> &'static str {
        match self {
            Self::Commercial => "https://api.security.microsoft.com",
            Self::Gcc => "https://api-gcc.securitycenter.microsoft.us",
            Self::GccHigh | Self::Dod => "https://api-gov.securitycenter.microsoft.us",
        }
    }

    /// Default of `scope`. In the public cloud the resource with the application roles
    /// (`WindowsDefenderATP`) is named after another host than the API host.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Commercial => "https://api.securitycenter.microsoft.com/.default",
            Self::Gcc => "https://api-gcc.securitycenter.microsoft.us/.default",
            Self::GccHigh | Self::Dod => "https://api-gov.securitycenter.microsoft.us/.default",
        }
    }

    /// Hosts that may receive a token in addition to the configured one. Each entry stands for the host
    /// and its subdomains: next links in replies name geographic hosts
    /// (`eu.api.security.microsoft.com`, `api-eu3.securitycenter.microsoft.com`).
    #[must_use]
    pub fn trusted_suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Commercial => {
                &["api.security.microsoft.com", "securitycenter.microsoft.com", "securitycenter.windows.com"]
            }
            Self::Gcc | Self::GccHigh | Self::Dod => &["securitycenter.microsoft.us"],
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn every_cloud_trusts_its_own_hosts_and_no_other_clouds() {
        let trusts = |cloud: Cloud, host: &str| {
            cloud.trusted_suffixes().iter().any(|suffix| {
                host == *suffix || host.strip_suffix(suffix).is_some_and(|front| front.ends_with('.'))
            })
        };
        for cloud in Cloud::ALL {
            let host = Url::parse(cloud.api_url()).unwrap().host_str().unwrap().to_owned();
            assert!(trusts(cloud, &host), "{host}");
        }
        let (public, gov) = (Cloud::Commercial, Cloud::GccHigh);
        assert!(trusts(public, "eu.api.security.microsoft.com"));
        assert!(trusts(public, "api-eu3.securitycenter.microsoft.com"));
        assert!(trusts(public, "api.securitycenter.windows.com"));
        assert!(!trusts(public, "api-gov.securitycenter.microsoft.us"));
        assert!(!trusts(public, "notsecuritycenter.microsoft.com"));
        assert!(!trusts(gov, "api.security.microsoft.com"));
    }
}
