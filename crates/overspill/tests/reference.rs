//! The reference pages say what the program says.

use std::path::Path;

use overspill::reference::pages;

#[test]
fn no_page_is_stale() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let is_writing = std::env::var_os("OVERSPILL_WRITE_REFERENCE").is_some();
    for page in pages() {
        let path = folder.join(page.file);
        if is_writing {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &page.text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page.text,
            "docs/reference/{} is stale; run OVERSPILL_WRITE_REFERENCE=1 cargo test -p overspill reference",
            page.file
        );
    }
}
