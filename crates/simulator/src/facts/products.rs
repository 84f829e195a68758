//! Products of the CVRF documents, each with the update line that its KBs are from.

/// A product of the documents.
pub(super) struct Product {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// The number of the update line.
    pub(super) system: u64,
    pub(super) build: u32,
    pub(super) is_server: bool,
}

/// The .NET Framework, which is a product of its own beside the system that it runs on.
pub(super) const DOT_NET: (&str, &str) = ("11650", "Microsoft .NET Framework 4.8");

/// Office, which gets its updates as a KB or by Click to Run.
pub(super) const OFFICE: [(&str, &str); 2] = [
    ("10753", "Microsoft Office 2016 (32-bit edition)"),
    ("11762", "Microsoft 365 Apps for Enterprise for 32-bit Systems"),
];

/// A product without KBs.
pub(super) const LINUX: (&str, &str) = ("20925-17086", "cbl2 kernel 5.15.200.1-1 on CBL Mariner 2.0");

/// The edition of Windows Server 2022 that gets hotpatches.
pub(super) const HOTPATCHED: (&str, &str) =
    ("12133", "Windows Server 2022 Datacenter: Azure Edition (Hotpatch)");

const fn client(id: &'static str, name: &'static str, system: u64, build: u32) -> Product {
    Product { id, name, system, build, is_server: false }
}

const fn server(id: &'static str, name: &'static str, system: u64, build: u32) -> Product {
    Product { id, name, system, build, is_server: true }
}

pub(super) const PRODUCTS: [Product; 11] = [
    client("11929", "Windows 10 Version 22H2 for x64-based Systems", 0, 19045),
    client("11930", "Windows 10 Version 22H2 for ARM64-based Systems", 0, 19045),
    client("12243", "Windows 11 Version 23H2 for x64-based Systems", 1, 22631),
    client("12390", "Windows 11 Version 24H2 for x64-based Systems", 2, 26100),
    client("20854", "Windows 11 Version 25H2 for x64-based Systems", 2, 26200),
    server("12436", "Windows Server 2025", 2, 26100),
    server("10816", "Windows Server 2016", 3, 14393),
    server("10855", "Windows Server 2016 (Server Core installation)", 3, 14393),
    server("11571", "Windows Server 2019", 4, 17763),
    server("11572", "Windows Server 2019 (Server Core installation)", 4, 17763),
    server("11923", "Windows Server 2022", 5, 20348),
];

/// The products of a line.
pub(super) fn of_line(system: u64) -> impl Iterator<Item = &'static Product> {
    PRODUCTS.iter().filter(move |product| product.system == system)
}
