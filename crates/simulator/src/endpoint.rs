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
}

impl Endpoint {
    pub(crate) const COUNT: usize = 7;
}

/// The period that a quota counts calls in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaPeriod {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
}
