//! Paths of the files in OUT. Only this module makes paths from names.

use std::fmt;
use std::path::{Path, PathBuf};

use emcee_core::names;

/// Directory of the statuses.
const STATUS_DIR: &str = "status";
/// Maximum length of a file name, in bytes, on common file systems.
const MAX_FILE_NAME_BYTES: usize = 255;
/// Separates the hash in a shortened file name. No object name contains it, so a shortened name never equals another
/// one.
const HASH_SEPARATOR: char = '_';
const FILE_SUFFIX: &str = ".yaml";

/// Path of a file below OUT: `<namespace>/<Kind>-<name>.yaml`, or the same below `status/`.
///
/// Its parts are names that Kubernetes allows, so the path never leaves OUT.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct OutputPath {
    is_status: bool,
    namespace: String,
    file: String,
}

/// Error: the name, namespace or kind of an object is not valid, so it gets no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace:?}/{name:?} is not written: its {part} is not a name that Kubernetes allows")]
pub(super) struct InvalidObjectName {
    kind: String,
    namespace: String,
    name: String,
    part: &'static str,
}

impl OutputPath {
    /// Path of the file of an object.
    pub(super) fn for_object(kind: &str, namespace: &str, name: &str) -> Result<Self, InvalidObjectName> {
        Self::from_checked_names(false, kind, namespace, name)
    }

    /// Path of the file of a resource's status.
    pub(super) fn for_status(kind: &str, namespace: &str, name: &str) -> Result<Self, InvalidObjectName> {
        Self::from_checked_names(true, kind, namespace, name)
    }

    /// Builds a path from names, after checking each. The error contains at most 80 characters of a name.
    fn from_checked_names(
        is_status: bool,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Self, InvalidObjectName> {
        let cut = |text: &str| text.chars().take(80).collect();
        let refuse = |part| {
            Err(InvalidObjectName { kind: cut(kind), namespace: cut(namespace), name: cut(name), part })
        };
        match (is_kind_name(kind), names::is_dns_label(namespace), names::is_dns_name(name)) {
            (false, ..) => refuse("kind"),
            (_, false, _) => refuse("namespace"),
            (.., false) => refuse("name"),
            _ => Ok(Self { is_status, namespace: namespace.to_owned(), file: file_name(kind, name) }),
        }
    }

    /// Path of a file that was found in the directory of a namespace. `None` if Emcee does not write such a file name.
    pub(super) fn from_file_name(is_status: bool, namespace: &str, file: &str) -> Option<Self> {
        let (kind, name) = file.strip_suffix(FILE_SUFFIX)?.split_once('-')?;
        // Names without a hash get a valid one, so that one check covers both.
        let (start, hash) = name.split_once(HASH_SEPARATOR).unwrap_or((name, "0"));
        let is_hash = hash.bytes().all(|b| b.is_ascii_hexdigit());
        let is_start =
            start.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        let is_name = is_start && is_hash && !start.is_empty();
        let is_ours =
            file.len() <= MAX_FILE_NAME_BYTES && is_kind_name(kind) && is_namespace_dir(namespace) && is_name;
        is_ours.then(|| Self { is_status, namespace: namespace.to_owned(), file: file.to_owned() })
    }

    /// Whether this is the file of a status.
    pub(super) fn is_status(&self) -> bool {
        self.is_status
    }

    /// The kind of the object.
    pub(super) fn kind(&self) -> &str {
        // Kinds contain letters only, so the first `-` ends the kind.
        self.file.split('-').next().unwrap_or_default()
    }

    /// The namespace of the object.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the object. A long one is shortened, with a hash.
    pub(super) fn name(&self) -> &str {
        let name = self.file.strip_suffix(FILE_SUFFIX).and_then(|file| file.split_once('-'));
        name.map_or("", |(_, name)| name)
    }

    /// Names of the parent directories, the outermost first.
    pub(super) fn parent_dirs(&self) -> impl Iterator<Item = &str> {
        self.is_status.then_some(STATUS_DIR).into_iter().chain([self.namespace.as_str()])
    }

    /// Path of the file below `root`.
    pub(super) fn full_path(&self, root: &Path) -> PathBuf {
        self.parent_dirs().fold(root.to_owned(), |path, folder| path.join(folder)).join(&self.file)
    }
}

/// Writes `Kind namespace/name`.
impl fmt::Display for OutputPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind(), self.namespace, self.name())
    }
}

/// Whether a directory of OUT may be that of a namespace.
pub(super) fn is_namespace_dir(name: &str) -> bool {
    names::is_dns_label(name)
}

/// Whether a directory of OUT contains the statuses. It is also the directory of a namespace with this name.
pub(super) fn is_status_dir(name: &str) -> bool {
    name == STATUS_DIR
}

fn is_kind_name(kind: &str) -> bool {
    (1..=40).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_alphabetic())
}

/// File name of an object. One that would be too long ends in a hash of kind and name.
fn file_name(kind: &str, name: &str) -> String {
    let whole = format!("{kind}-{name}{FILE_SUFFIX}");
    if whole.len() <= MAX_FILE_NAME_BYTES {
        return whole;
    }
    let end = format!("{HASH_SEPARATOR}{}{FILE_SUFFIX}", names::long_hash(&[kind, name]));
    let start = whole.get(..MAX_FILE_NAME_BYTES - end.len()).expect("valid names are ASCII");
    format!("{start}{end}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Component;

    use super::*;

    /// Pseudorandom numbers (xorshift), the same in each run.
    struct PseudoRandom(u64);

    impl PseudoRandom {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % limit as u64).expect("it is below a usize")
        }
    }

    const PARTS: [&str; 34] = [
        "a",
        "b",
        "x1",
        "0",
        "-",
        ".",
        "..",
        "/",
        "//",
        "\\",
        "\0",
        "~",
        "_",
        "_0",
        " ",
        "\n",
        "A",
        "ä",
        "ﬀ",
        "名",
        "\u{202e}",
        "%2e%2e",
        "%2f",
        "status",
        "default",
        ".emcee-",
        ".yaml",
        "Service",
        "../..",
        "/etc/passwd",
        "a.b",
        "C:",
        "*",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];

    /// Random text. One half consists of parts of valid names, the other also contains parts that no name may have.
    fn random_text(numbers: &mut PseudoRandom) -> String {
        let harmless = [0, 1, 2, 3, 23, 24, 30, 33];
        let is_harmless = numbers.below(2) == 0;
        let part = |numbers: &mut PseudoRandom| {
            let limit = if is_harmless { harmless.len() } else { PARTS.len() };
            let at = numbers.below(limit);
            PARTS[if is_harmless { harmless[at] } else { at }]
        };
        let (dots, count) = (numbers.below(3) == 0, numbers.below(6));
        let parts: Vec<_> = (0..count).map(|_| part(numbers)).collect();
        parts.join(if dots { "." } else { "" })
    }

    /// Checks a path by its components, independently of the checks of names.
    fn stays_within(root: &Path, path: &Path, depth: usize) -> bool {
        let Ok(below) = path.strip_prefix(root) else { return false };
        let plain = |part: Component<'_>| match part {
            Component::Normal(name) => {
                let name = name.to_str().unwrap_or("/");
                name.len() <= 255
                    && !name.starts_with('.')
                    && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
            }
            _ => false,
        };
        below.components().count() == depth && below.components().all(plain)
    }

    /// Property: whatever the names, no path leaves OUT, and no two objects have the same path.
    #[test]
    fn no_path_of_a_million_random_names_leaves_the_output_directory() {
        let (mut numbers, root) = (PseudoRandom(0x9e37_79b9_7f4a_7c15), Path::new("/some/out"));
        let mut names_of = HashMap::new();
        let mut refused = 0;
        for _ in 0..1_000_000 {
            let (namespace, name) = (random_text(&mut numbers), random_text(&mut numbers));
            let is_status = numbers.below(2) == 0;
            let kind = ["Service", "ServiceExposition"][numbers.below(2)];
            let Ok(place) = OutputPath::from_checked_names(is_status, kind, &namespace, &name) else {
                refused += 1;
                continue;
            };
            let path = place.full_path(root);
            assert!(
                stays_within(root, &path, if is_status { 3 } else { 2 }),
                "{namespace:?} {name:?}: {path:?}"
            );
            let file = path.file_name().and_then(|file| file.to_str()).expect("a name");
            assert_eq!(
                OutputPath::from_file_name(is_status, &namespace, file).as_ref(),
                Some(&place),
                "the file name leads back to the same path"
            );
            let names = (kind, namespace, name);
            let first = names_of.entry(place).or_insert_with(|| names.clone());
            assert_eq!(*first, names, "two objects, one file");
        }
        assert!((500_000..950_000).contains(&refused), "valid and invalid names are tried: {refused}");
    }

    /// Property: whatever the names of existing files, no path leaves OUT.
    #[test]
    fn no_path_from_a_file_name_leaves_the_output_directory() {
        let (mut numbers, root) = (PseudoRandom(0x2545_f491_4f6c_dd1d), Path::new("/some/out"));
        let mut taken = 0;
        for _ in 0..200_000 {
            let (namespace, name) = (random_text(&mut numbers), random_text(&mut numbers));
            let file = format!("Service-{name}.yaml");
            if let Some(place) = OutputPath::from_file_name(false, &namespace, &file) {
                taken += 1;
                assert!(stays_within(root, &place.full_path(root), 2), "{namespace:?} {file:?}");
            }
        }
        assert!(taken > 1_000, "{taken}");
    }

    #[test]
    fn an_invalid_name_is_refused_and_reported() {
        for (kind, namespace, name, part) in [
            ("Service", "../../evil", "x1", "namespace"),
            ("Service", "", "x1", "namespace"),
            ("Service", "a.b", "x1", "namespace"),
            ("Service", "shop", "x3-/../../other", "name"),
            ("Service", "shop", "..", "name"),
            ("Service", "shop", "", "name"),
            ("../x", "shop", "x", "kind"),
        ] {
            let error = OutputPath::for_object(kind, namespace, name).expect_err(name);
            assert_eq!(error.part, part, "{error}");
            assert_eq!(OutputPath::for_status(kind, namespace, name).expect_err(name).part, part);
        }
        let error = OutputPath::for_object("Service", "..", "x\n").expect_err("no name");
        assert_eq!(
            error.to_string(),
            "Service \"..\"/\"x\\n\" is not written: its namespace is not a name that Kubernetes allows"
        );
    }

    #[test]
    fn long_names_keep_their_start_and_end_in_a_hash() {
        let name = |end: &str| format!("{}.{end}", ["x".repeat(60).as_str(); 4].join("."));
        let place = |name: &str| OutputPath::for_object("ServiceExposition", "shop", name).expect("a name");
        let (one, other) = (place(&name("a")), place(&name("b")));
        assert_ne!(one, other);
        assert_eq!(one.file.len(), MAX_FILE_NAME_BYTES);
        assert!(one.file.starts_with("ServiceExposition-xxxxxxx") && one.file.ends_with(FILE_SUFFIX));
        let fits = "x".repeat(60) + "." + &"y".repeat(60);
        assert_eq!(
            place(&fits).file,
            format!("ServiceExposition-{fits}.yaml"),
            "names that fit are not changed"
        );
    }
}
