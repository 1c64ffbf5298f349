//! Texts as users write them, and the documents and problems that they get.

mod files;
mod robust;
mod typing;
mod write;

use serde_json::json;

use super::{ManifestDocument, find_duplicates, read_text};

fn problems(text: impl AsRef<[u8]>) -> Vec<String> {
    let reading = read_text("f.yaml", text.as_ref());
    reading.problems.iter().map(ToString::to_string).collect()
}

fn documents(text: impl AsRef<[u8]>) -> Vec<ManifestDocument> {
    let reading = read_text("f.yaml", text.as_ref());
    let problems: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
    reading.documents
}

fn document(text: impl AsRef<[u8]>) -> ManifestDocument {
    let [document] = <[_; 1]>::try_from(documents(text)).expect("one document");
    document
}

fn names(documents: &[ManifestDocument]) -> Vec<(&str, u32)> {
    documents.iter().map(|document| (document.name.as_str(), document.line)).collect()
}

/// A valid object, for tests of the text around it.
const VALID_OBJECT: &str = "apiVersion: v1\nkind: A\nmetadata: {name: sound}\n";

#[test]
fn every_field_has_its_line() {
    let document = document(
        "# comment\n---\n\napiVersion: a.b/v1\nkind: Thing\nmetadata:\n  name: x\n  namespace: ns\n  labels:\n    \
         a.b/c: d\nspec:\n  peers:\n  - name: one\n  - {name: two,\n     port: 1}\n  empty:\n",
    );
    assert_eq!((document.line, document.object_name().as_str(), document.group()), (4, "Thing ns/x", "a.b"));
    let lines = [
        ("", 4),
        ("kind", 5),
        ("nothing", 4),
        ("metadata.labels.a.b/c", 10),
        ("metadata.labels[a.b/c]", 10),
        ("metadata.labels['a.b/c']", 10),
        ("metadata.labels.a", 9),
        ("spec.peers", 12),
        ("spec.peers[0]", 13),
        ("spec.peers[1].name", 14),
        ("spec.peers[1].port", 15),
        ("spec.peers[1].absent.deep", 14),
        ("spec.peers[2].name", 12),
        ("spec.peers[x", 12),
        ("spec.empty.below", 16),
        ("spec..peers", 11),
    ];
    for (field, line) in lines {
        assert_eq!(document.line_of(field), line, "{field}");
    }
}

#[test]
fn the_longest_key_wins_in_paths() {
    let document = document(format!("{VALID_OBJECT}a: {{}}\na.b: 1\n"));
    assert_eq!((document.line_of("a.b"), document.line_of("a.c"), document.line_of("a")), (5, 4, 4));
}

#[test]
fn empty_documents_are_skipped() {
    for empty in ["", "\n\n", "# c\n", "---\n", "---\n# c\n---\n...\n", "\u{feff}", "null\n", "\r\n# c\r\n"] {
        assert!(documents(empty).is_empty(), "{empty:?}");
    }
    let text = format!("---\n# c\n---\n{VALID_OBJECT}...\n---\n---\n{VALID_OBJECT}");
    assert_eq!(names(&documents(text)), [("sound", 4), ("sound", 10)]);
}

#[test]
fn byte_order_marks_and_line_endings_are_accepted() {
    let windows = format!("\u{feff}{VALID_OBJECT}b: |\n  x\n  y\n").replace('\n', "\r\n");
    let document = document(&windows);
    assert_eq!((document.line_of("b"), &document.value["b"]), (4, &json!("x\ny\n")));
    assert_eq!(documents(format!("{VALID_OBJECT}a: b\t\nc: d\t# e\n")).len(), 1);
    let text: Vec<u8> = VALID_OBJECT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(problems([b"\xff\xfe", text.as_slice()].concat()), ["f.yaml:1: is UTF-16 (save it as UTF-8)"]);
    assert_eq!(problems(b"a: 1\nb: \xff\n"), ["f.yaml:2: is not UTF-8 text"]);
}

#[test]
fn tabs_are_reported_with_their_line() {
    let tab = "a tab in the indentation (indent with spaces)";
    for (text, line) in [
        ("spec:\n\tmode: X\n", 2),
        ("spec:\n  a: 1\n\tb: 2\n", 3),
        ("spec:\n  a:\n  - b\n \t- c\n", 4),
        ("\ta: 1\n\tb: 2\n", 1),
        ("a:\n  - b: 1\n\t  c: 2\n", 3),
        ("a: 1\nb:\n\t- c: 1\n", 3),
    ] {
        let reported = problems(text);
        assert!(
            reported[0].starts_with(&format!("f.yaml:{line}: ")) && reported[0].ends_with(tab),
            "{reported:?}"
        );
    }
}

#[test]
fn json_is_read_with_lines_too() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"A\",\n\t\"metadata\": {\n\t\t\"name\": \"x\\/\\ud83d\\ude00\"\n\t}\n}\n";
    let read = document(text);
    assert_eq!((read.name.as_str(), read.line, read.line_of("metadata.name")), ("x/😀", 2, 5));
    assert_eq!(names(&documents(format!("{text}{text}"))), [("x/😀", 2), ("x/😀", 9)]);
    let compact = text.replace(['\n', '\t'], "");
    assert_eq!(names(&documents(format!("{compact}{compact}\n\n{compact}"))).last(), Some(&("x/😀", 3)));
    assert_eq!(names(&documents(format!("{text}---\n{text}"))), [("x/😀", 2), ("x/😀", 10)]);
    assert_eq!(problems(format!("{text}[]")).len(), 1);
}

#[test]
fn lists_are_expanded() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: A\n  metadata: {name: x}\n\
                - kind: List\n  apiVersion: v1\n  items:\n  - {apiVersion: v1, kind: B,\n     metadata: {name: z}}\n";
    let found = documents(text);
    assert_eq!(names(&found), [("x", 4), ("z", 10)]);
    assert_eq!(found[1].line_of("metadata.name"), 11);
    let typed = "apiVersion: g/v1\nkind: ThingList\nmetadata: {}\nitems:\n- metadata: {name: x}\n";
    assert_eq!(
        documents(typed)[0].value,
        json!({"metadata": {"name": "x"}, "apiVersion": "g/v1", "kind": "Thing"})
    );
    for empty in ["kind: List", "kind: List\nitems:", "kind: List\nitems: []"] {
        assert!(documents(empty).is_empty());
    }
    assert_eq!(document("{apiVersion: v1, kind: AllowList, metadata: {name: x}}").kind, "AllowList");
    assert_eq!(problems("kind: List\nitems: 3\n"), ["f.yaml:2: List: items: must be a list, not a number"]);
    assert_eq!(
        problems("kind: List\nitems:\n- 3\n- {kind: A, apiVersion: v1}\n"),
        [
            "f.yaml:3: is a number, not a manifest (a mapping with apiVersion, kind and metadata.name)",
            "f.yaml:4: A: metadata.name: is missing (every object needs a name)",
        ]
    );
}

#[test]
fn identity_is_checked() {
    assert_eq!(
        problems("metadata:\n  namespace: [a]\nspec: {}\n"),
        [
            "f.yaml:1: apiVersion: is missing (a group and version, such as apps/v1)",
            "f.yaml:1: kind: is missing (the kind of object)",
            "f.yaml:1: metadata.name: is missing (every object needs a name)",
            "f.yaml:2: metadata.namespace: must be text (in quotes), not a list",
        ]
    );
    assert_eq!(
        problems("apiVersion: 1\nkind: A\nmetadata:\n  name: 8080\n"),
        [
            "f.yaml:1: A: apiVersion: must be text (in quotes), not a number",
            "f.yaml:4: A: metadata.name: must be text (in quotes), not a number",
        ]
    );
    for (text, kind) in [("- a\n", "a list"), ("text\n", "text"), ("3\n", "a number"), ("no\n", "a boolean")]
    {
        let reported = format!(
            "f.yaml:1: is {kind}, not a manifest (a mapping with apiVersion, kind and metadata.name)"
        );
        assert_eq!(problems(text), [reported]);
    }
    let without = document("apiVersion: v1\nkind: A\nmetadata: {name: x, namespace: ''}\n");
    assert_eq!((without.namespace.as_deref(), without.object_name().as_str()), (None, "A x"));
}

#[test]
fn duplicate_keys_are_reported_with_both_lines() {
    let text = "apiVersion: v1\nkind: A\nmetadata:\n  name: x\n  namespace: ns\nspec:\n  a: 1\n  b: [{c: 1, c: 2}]\n  a: 2\n";
    assert_eq!(
        problems(text),
        [
            "f.yaml:8: A ns/x: spec.b[0].c: is given twice (first on line 8)",
            "f.yaml:9: A ns/x: spec.a: is given twice (first on line 7)",
        ]
    );
    assert_eq!(problems("8080: a\n'8080': b\n"), ["f.yaml:2: 8080: is given twice (first on line 1)"]);
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    for broken in
        ["a: [1, 2\n", "a: b: c\n", "a: 'it's'\n", "a: @x\n", "a: *x\n", "a: \"x\n", "? {a: b}\n: c\n"]
    {
        let reading =
            read_text("f.yaml", format!("{VALID_OBJECT}---\n{broken}---\n{VALID_OBJECT}").as_bytes());
        let next = if broken.starts_with('?') { 8 } else { 7 };
        assert_eq!(names(&reading.documents), [("sound", 1), ("sound", next)], "{broken}");
        assert_eq!(reading.problems.len(), 1, "{broken}");
    }
}

#[test]
fn a_broken_document_is_named_if_possible() {
    assert_eq!(
        problems(format!("{VALID_OBJECT}spec:\n  text: a: b\n")),
        ["f.yaml:5: A sound: is not YAML at column 10: a second `: ` on the line, or wrong indentation \
             (text with `: ` needs quotes)"]
    );
    assert_eq!(
        problems(format!("{VALID_OBJECT}spec:\n  x: {{{{ .Values.x }}}}\n")),
        ["f.yaml:5: A sound: spec.x: `{{` starts a template (render it first, or quote the text)"]
    );
    assert_eq!(
        problems("kind: A\nspec:\n  x: @y\n"),
        ["f.yaml:3: A: character '@' is not allowed here (quote text that contains it)"]
    );
}

#[test]
fn messages_stay_on_one_line_and_off_the_terminal() {
    let reported = problems(
        "kind: \"A\\nB\\e[31m\"\napiVersion: v1\nmetadata: {name: x}\n\"a\\u202eb\": 1\n\"a\\u202eb\": 2\n",
    );
    assert_eq!(reported, ["f.yaml:5: A\\nB\\u{1b}[31m x: a\\u{202e}b: is given twice (first on line 4)"]);
}

#[test]
fn aliases_repeat_and_merge() {
    let text = format!(
        "{VALID_OBJECT}base: &base {{a: 1, b: 2}}\nother: &other\n  b: 3\n  c: 4\nuse:\n  b: 0\n  <<: [*base, *other]\nlist:\n- *base\n? &k key\n: *k\n"
    );
    let document = document(&text);
    assert_eq!(document.value["use"], json!({"b": 0, "a": 1, "c": 4}));
    assert_eq!(document.value["list"], json!([{"a": 1, "b": 2}]));
    assert_eq!(document.value["key"], json!("key"));
    assert_eq!((document.line_of("use.c"), document.line_of("use.a"), document.line_of("use.b")), (7, 4, 9));
    assert_eq!((document.line_of("list[0]"), document.line_of("list[0].a")), (12, 4));
    assert_eq!(document.value.get("<<"), None);
    assert_eq!(documents(format!("{VALID_OBJECT}'<<': 1\n"))[0].value["<<"], json!(1));
}

#[test]
fn invalid_aliases_are_refused() {
    for (text, message) in [
        ("a: *x\n", "f.yaml:1: the alias has no anchor before it in this document"),
        ("a: &x [*x]\n", "f.yaml:1: a[0]: the alias is inside the value that it repeats"),
        ("<<: 3\n", "f.yaml:1: `<<` takes a mapping or a list of mappings"),
        ("a: &x [1]\n*x : 3\n", "f.yaml:2: a key must be text, not a list or a mapping"),
        ("~: 3\n", "f.yaml:1: a key must be text, not null"),
    ] {
        assert_eq!(problems(text), [message], "{text}");
    }
}

#[test]
fn duplicate_objects_are_found() {
    let object = |version: &str, namespace: &str| {
        format!("---\napiVersion: g/{version}\nkind: A\nmetadata:\n  name: x\n  {namespace}\n")
    };
    let text =
        [object("v1", ""), object("v1", "namespace: other"), object("v2", "namespace: default")].concat();
    let found = documents(text);
    let reported: Vec<_> =
        find_duplicates(&found, "default").iter().map(|two| two.to_problem().to_string()).collect();
    assert_eq!(reported, ["f.yaml:17: A default/x: metadata.name: is given twice (first at f.yaml:2)"]);
    assert!(find_duplicates(&found, "elsewhere").is_empty());
}

#[test]
fn a_problem_has_the_line_of_its_field() {
    let document = document(format!("{VALID_OBJECT}spec:\n  mode: X\n"));
    let reported = document.problem_at(Some("spec.mode"), "unknown mode \"X\" (FLAT)").to_string();
    assert_eq!(reported, "f.yaml:5: A sound: spec.mode: unknown mode \"X\" (FLAT)");
    assert_eq!(document.problem_at(None, "is odd").to_string(), "f.yaml:1: A sound: is odd");
}
