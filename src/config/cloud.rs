//! What the choice of a cloud stands for: hosts, scope, and where a token may go.
//!
//! Hosts of the government clouds are Microsoft's page "Microsoft Defender for Endpoint for US
//! Government customers" (defender-endpoint/gov); geo hosts of the public one are in
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

    /// Default of `authority_url`. GCC tenants live in the public Entra.
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

    /// Default of `scope`. In the public cloud the resource that holds the roles
    /// (`WindowsDefenderATP`) is named after another host than the one that is called.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Commercial => "https://api.securitycenter.microsoft.com/.default",
            Self::Gcc => "https://api-gcc.securitycenter.microsoft.us/.default",
            Self::GccHigh | Self::Dod => "https://api-gov.securitycenter.microsoft.us/.default",
        }
    }

    /// Hosts that may be sent a token, besides the configured one: each entry stands for the host
    /// itself and all below it. Replies name geo hosts (`eu.api.security.microsoft.com`,
    /// `api-eu3.securitycenter.microsoft.com`) in their next links.
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
    use reqwest::Url;

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
