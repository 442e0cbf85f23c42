//! The schema's text is checked in: clients generate code from it, so each change is seen.

use std::fs;
use std::path::Path;

#[test]
fn the_schema_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql");
    let now = query_api::schema::sdl();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == now, "schema.graphql is not the schema: UPDATE_SCHEMAS=1 writes it");
}

#[test]
fn a_field_that_may_be_null_fails_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 5, "the schema is elsewhere");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let field = text.lines().find(|line| line.contains("-> Result<Option<"));
        assert_eq!(field, None, "{}: give a `Nullable`", file.display());
    }
}
