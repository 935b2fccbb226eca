//! What a program does that is built without the feature `zstd`: `.ci/run` builds and runs this.

use crate::prelude::*;

#[test]
fn a_file_that_is_compressed_with_zstd_is_an_error_that_names_it_and_the_feature() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("words.zst");
    std::fs::write(&path, b"\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00hi\n").unwrap();
    let cx = Context::local(1).unwrap();
    for counted in [cx.text_file(&path).count(), cx.read(text(dir.path())).count()] {
        let error = counted.unwrap_err().to_string();
        assert!(error.contains("words.zst") && error.contains("the feature `zstd` of `tryworks`"), "{error}");
    }
    // Whatever its name says.
    std::fs::write(&path, "one\ntwo\n").unwrap();
    assert_eq!(cx.text_file(&path).count().unwrap(), 2);
}
