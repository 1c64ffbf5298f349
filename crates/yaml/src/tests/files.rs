//! Files, folders and the standard input.

use std::{fs, io, path::PathBuf};

use super::super::{LoadedManifests, MAX_BYTES, fingerprint, read_paths};
use super::VALID_OBJECT;

fn files(reading: &LoadedManifests, root: &std::path::Path) -> Vec<String> {
    let root = format!("{}/", root.display());
    reading.files.iter().map(|file| file.replace(&root, "")).collect()
}

#[test]
fn folders_are_walked_in_order() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::create_dir_all(root.join("b/.hidden")).unwrap();
    for name in [
        "c.yaml",
        "a.JSON",
        "b/x.yml",
        "b/a.yaml",
        "b/.hidden/x.yaml",
        ".y.yaml",
        "#z.yaml",
        "z.yaml~",
        "n.txt",
        "Makefile",
    ] {
        fs::write(root.join(name), "").unwrap();
    }
    let reading = read_paths(&[root.to_owned(), root.join("n.txt"), root.join("b/x.yml")], io::empty());
    assert_eq!(files(&reading, root), ["a.JSON", "b/a.yaml", "b/x.yml", "c.yaml", "n.txt"]);
    assert!(reading.unreadable.is_empty() && reading.problems.is_empty());
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    // Same layout as a mounted ConfigMap.
    fs::create_dir(root.join("..1")).unwrap();
    fs::write(root.join("..1/a.yaml"), VALID_OBJECT).unwrap();
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink(root, root.join("loop")).unwrap();
    symlink("self.yaml", root.join("self.yaml")).unwrap();
    symlink("gone", root.join("gone.txt")).unwrap();
    let reading = read_paths(&[root.to_owned()], io::empty());
    assert_eq!(files(&reading, root), ["a.yaml"]);
    assert_eq!((reading.documents.len(), reading.unreadable.len()), (1, 1));
    assert!(
        reading.unreadable[0]
            .to_string()
            .starts_with(&format!("{}/self.yaml: cannot be read: ", root.display()))
    );
}

#[test]
fn stdin_is_read_once_and_missing_files_are_reported() {
    let paths = ["-", "no-such.yaml", "-"].map(PathBuf::from);
    let reading = read_paths(&paths, VALID_OBJECT.as_bytes());
    assert_eq!((&*reading.documents[0].file, reading.documents.len()), ("<stdin>", 1));
    assert!(reading.unreadable[0].to_string().starts_with("no-such.yaml: cannot be read: No such file"));
}

#[test]
fn a_file_that_is_too_large_is_not_read_completely() {
    struct Endless(usize);
    impl io::Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 += into.len();
            assert!(self.0 <= MAX_BYTES * 2, "reads far beyond the limit");
            into.fill(b' ');
            Ok(into.len())
        }
    }
    let reading = read_paths(&["-".into()], Endless(0));
    assert_eq!(
        reading.problems[0].to_string(),
        "<stdin>:1: is larger than 16 MiB (the most one file may hold)"
    );
}

#[test]
fn the_fingerprint_follows_names_and_contents() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let current = || fingerprint(&[root.to_owned()]);
    let mut seen = vec![current()];
    for (name, text) in [("a.yaml", ""), ("a.yaml", "x"), ("b.yaml", "x"), ("b.yaml", "")] {
        fs::write(root.join(name), text).unwrap();
        seen.push(current());
    }
    fs::rename(root.join("b.yaml"), root.join("c.yaml")).unwrap();
    seen.push(current());
    for (index, one) in seen.iter().enumerate() {
        assert!(!seen[..index].contains(one), "fingerprint {index}");
    }
    fs::write(root.join("c.txt"), "not a manifest").unwrap();
    assert_eq!(Some(&current()), seen.last());
}
