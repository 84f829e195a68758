//! What is in `dashboards/` is what is generated here.

use std::path::Path;

use crate::{all, kubernetes};

/// Set, the files are written instead of compared.
const UPDATE: &str = "UPDATE_FILES";

#[test]
fn the_dashboards_in_the_tree_are_those_that_are_generated() {
    let dashboards = all().map(|(name, dashboard)| (name.to_owned(), dashboard.text()));
    let kubernetes = ("provisioning/kubernetes/dashboards.yaml".to_owned(), kubernetes::config_maps());
    for (name, text) in dashboards.into_iter().chain([kubernetes]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(&name);
        if std::env::var_os(UPDATE).is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, &text);
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "dashboards/{name} is not what is generated; write it with\n{UPDATE}=1 cargo test --test dashboards"
        );
    }
}

fn write(path: &Path, text: &str) {
    let mut file = std::fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}
