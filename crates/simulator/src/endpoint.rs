//! The endpoints of the simulated API and authority, and the periods of their quotas.

/// An endpoint of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A token, from the authority or a managed identity endpoint.
    Token,
    /// `GET /api/machines`
    Machines,
    /// `GET /api/machines/findbytag`
    FindByTag,
    /// `GET /api/machines/{id}`
    Machine,
    /// `GET /api/machines/{id}/getmissingkbs`
    MissingKbs,
    /// `GET /api/machines/SoftwareVulnerabilitiesExport`
    Export,
    /// The download of a file listed by the export, from another port.
    ExportFile,
    /// `GET /cvrf/v3.0/updates`: the index of the CVRF documents.
    MsrcIndex,
    /// `GET /cvrf/v3.0/cvrf/{id}`
    MsrcDocument,
    /// `GET /kev/known_exploited_vulnerabilities.json`
    Kev,
    /// `GET /epss/epss_scores-current.csv.gz`
    Epss,
    /// `GET /servicing/{product}/`: the end of servicing of the releases of a product.
    Servicing,
}

impl Endpoint {
    pub(crate) const COUNT: usize = 12;

    /// Returns whether this is a public catalogue, which needs no token and has no quota.
    pub(crate) fn is_catalogue(self) -> bool {
        matches!(self, Self::MsrcIndex | Self::MsrcDocument | Self::Kev | Self::Epss | Self::Servicing)
    }
}

/// The period that a quota counts calls in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaPeriod {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
}
