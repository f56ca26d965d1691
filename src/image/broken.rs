//! Broken archives: refused or contained, whatever is in them.

use super::limits::Limits;
use super::tests::{Dir, tar};
use crate::model::broken::broken;

#[test]
fn archives() {
    use ::tar::EntryType as E;
    let first = tar(&[
        ("etc", E::Directory, "", &[] as &[_]),
        (
            "etc/passwd",
            E::Regular,
            "",
            &[("SCHILY.xattr.user.mine", b"x" as &[u8])],
        ),
        ("way", E::Symlink, "../../etc", &[]),
        ("way/x", E::Regular, "", &[]),
        ("hard", E::Link, "etc/passwd", &[]),
        ("etc/.wh.passwd", E::Regular, "", &[]),
    ]);
    let second = tar(&[
        ("a/b/c", E::Regular, "", &[] as &[_]),
        ("a/.wh..wh..opq", E::Regular, "", &[]),
    ]);
    let mut n = 0;
    broken("archives", &[&first, &second], |bytes| {
        n += 1;
        // What is beside the directory stays as it is.
        let around = Dir::new(&format!("broken-{n}"));
        let inside = around.0.join("inside");
        std::fs::create_dir(&inside).unwrap();
        let within = Dir(inside);
        let done = within
            .unpack(bytes.to_vec(), &mut Limits::new(100, 1 << 20))
            .is_ok();
        let beside = std::fs::read_dir(&around.0).unwrap().count();
        assert_eq!(beside, 1, "something was written beside it");
        done
    });
}

#[test]
fn streams() {
    use std::io::Read as _;
    let mut gzip = Vec::new();
    let text: &[u8] = &[7; 5000];
    let mut encoder = flate2::read::GzEncoder::new(text, flate2::Compression::fast());
    encoder.read_to_end(&mut gzip).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
    broken("compressed streams", &[&gzip, &zstd], |bytes| {
        let stream = super::stream::decompressed(std::io::Cursor::new(bytes.to_vec()));
        stream.is_ok_and(|s| s.take(1 << 22).read_to_end(&mut Vec::new()).is_ok())
    });
}
