//! Names and comments of production code, read with a Rust parser.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Shares;

/// Names that tell nothing without their object: `take_ticket`, not `take`.
const BARE_VERBS: [&str; 10] =
    ["take", "see", "say", "tell", "look", "hear", "keep", "note", "mind", "stand"];
const PREDICATES: [&str; 3] = ["is_", "has_", "can_"];
const MIN_WORDS_OF_DOC: usize = 4;

/// What is counted over all files.
#[derive(Debug, Default)]
pub(super) struct Production {
    functions: Vec<Function>,
    /// Places of types by name.
    types: BTreeMap<String, Vec<Place>>,
    /// Doc comments of public items that are too short, with their place.
    short_docs: Vec<(Place, String)>,
    code_lines: usize,
    comment_lines: usize,
}

/// A crate, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// `crates/NAME`.
    krate: String,
    /// `file:line`.
    line: String,
}

#[derive(Debug)]
struct Function {
    name: String,
    place: Place,
    /// Its name is a trait's to choose.
    of_trait: bool,
    mutates_self: bool,
}

impl Production {
    /// Reads and parses every file.
    pub(super) fn read<'a>(workspace: &Path, files: impl Iterator<Item = &'a String>) -> Result<Self> {
        let mut all = Self::default();
        for file in files {
            let text = std::fs::read_to_string(workspace.join(file))
                .with_context(|| format!("cannot read {file}"))?;
            all.add(file, &text).with_context(|| format!("cannot parse {file}"))?;
        }
        Ok(all)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let syntax = syn::parse_file(text)?;
        let mut reader =
            FileReader { file, all: self, kinds: vec![Line::Outside; lines.len()], of_trait: false };
        reader.visit_file(&syntax);
        let kinds = reader.kinds;
        for (line, kind) in lines.into_iter().zip(kinds) {
            let is_comment = line.starts_with("//");
            match kind {
                Line::Test => {}
                Line::Function if is_plain_comment(line) => self.comment_lines += 1,
                Line::Function | Line::Outside => {
                    self.code_lines += usize::from(!is_comment && !line.is_empty());
                }
            }
        }
        Ok(())
    }

    /// Every place that breaks a rule without a share.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for Function { name, place, of_trait, mutates_self } in &self.functions {
            if *mutates_self && PREDICATES.iter().any(|prefix| name.starts_with(prefix)) {
                faults
                    .push(format!("{}: `{name}` is named like a question and takes `&mut self`", place.line));
            }
            if !of_trait && BARE_VERBS.contains(&name.as_str()) {
                faults.push(format!("{}: `{name}`: name what is handled, as in `{name}_…`", place.line));
            }
        }
        for (name, places) in &self.types {
            for (index, place) in places.iter().enumerate() {
                if places[..index].iter().any(|other| other.krate == place.krate) {
                    faults.push(format!(
                        "{}: another type of {} is called `{name}` too",
                        place.line, place.krate
                    ));
                }
            }
        }
        for (place, doc) in &self.short_docs {
            faults.push(format!(
                "{}: a doc comment of {MIN_WORDS_OF_DOC} words or more, not {doc:?}",
                place.line
            ));
        }
        faults
    }

    pub(super) fn shares(&self) -> Shares {
        let is_one_word = |function: &&Function| !function.name.trim_matches('_').contains('_');
        let shared = self.types.values().map(Vec::len).filter(|count| *count > 1);
        Shares {
            functions: self.functions.len(),
            one_word: self.functions.iter().filter(is_one_word).count(),
            types: self.types.values().map(Vec::len).sum(),
            shared_types: shared.sum(),
            code_lines: self.code_lines,
            comment_lines: self.comment_lines,
        }
    }
}

/// A comment that is not documentation.
fn is_plain_comment(line: &str) -> bool {
    line.starts_with("//") && !line.starts_with("///") && !line.starts_with("//!")
}

/// What a line of a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Outside,
    Function,
    Test,
}

/// Walks through one file.
struct FileReader<'a> {
    file: &'a str,
    all: &'a mut Production,
    kinds: Vec<Line>,
    /// Inside of `impl Trait for Type`.
    of_trait: bool,
}

impl FileReader<'_> {
    fn place(&self, item: &impl Spanned) -> Place {
        let krate = self.file.split('/').take(2).collect::<Vec<_>>().join("/");
        Place { krate, line: format!("{}:{}", self.file, item.span().start().line) }
    }

    fn mark(&mut self, item: &impl Spanned, kind: Line) {
        let span = item.span();
        // Lines of spans count from one.
        for line in &mut self.kinds[span.start().line - 1..span.end().line] {
            *line = kind;
        }
    }

    fn add_function(&mut self, signature: &syn::Signature, body: &syn::Block, of_trait: bool) {
        let receiver = signature.receiver();
        let mutates_self =
            receiver.is_some_and(|receiver| receiver.reference.is_some() && receiver.mutability.is_some());
        let place = self.place(&signature.ident);
        let name = signature.ident.to_string();
        self.all.functions.push(Function { name, place, of_trait, mutates_self });
        self.mark(body, Line::Function);
    }

    fn add_type(&mut self, name: &syn::Ident) {
        let place = self.place(name);
        self.all.types.entry(name.to_string()).or_default().push(place);
    }

    fn check_doc(
        &mut self,
        visibility: &syn::Visibility,
        attributes: &[syn::Attribute],
        item: &impl Spanned,
    ) {
        let doc = attributes.iter().filter_map(doc_line).collect::<Vec<_>>().join(" ");
        let words = doc.split_whitespace().count();
        if !matches!(visibility, syn::Visibility::Inherited) && (1..MIN_WORDS_OF_DOC).contains(&words) {
            self.all.short_docs.push((self.place(item), doc.trim().to_owned()));
        }
    }
}

fn doc_line(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
    pair.path.is_ident("doc").then(|| text.value())
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, `#[cfg(any(test, …))]`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let named_test = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
        let condition =
            attribute.path().is_ident("cfg").then(|| attribute.meta.require_list().ok()).flatten();
        named_test
            || condition.is_some_and(|list| {
                let condition = list.tokens.to_string().replace(' ', "");
                ["test", "any(test", "all(test"].iter().any(|start| condition.starts_with(start))
            })
    })
}

impl<'ast> Visit<'ast> for FileReader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test(attributes_of(item)) {
            self.mark(item, Line::Test);
            return;
        }
        match item {
            syn::Item::Struct(syn::ItemStruct { ident, attrs, vis, .. })
            | syn::Item::Enum(syn::ItemEnum { ident, attrs, vis, .. })
            | syn::Item::Trait(syn::ItemTrait { ident, attrs, vis, .. })
            | syn::Item::Type(syn::ItemType { ident, attrs, vis, .. }) => {
                self.add_type(ident);
                self.check_doc(vis, attrs, ident);
            }
            syn::Item::Const(syn::ItemConst { ident, attrs, vis, .. })
            | syn::Item::Static(syn::ItemStatic { ident, attrs, vis, .. })
            | syn::Item::Mod(syn::ItemMod { ident, attrs, vis, .. }) => self.check_doc(vis, attrs, ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check_doc(&function.vis, &function.attrs, &function.sig.ident);
        self.add_function(&function.sig, &function.block, false);
        visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.of_trait, item.trait_.is_some());
        visit::visit_item_impl(self, item);
        self.of_trait = outer;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if is_test(&function.attrs) {
            self.mark(function, Line::Test);
            return;
        }
        self.check_doc(&function.vis, &function.attrs, &function.sig.ident);
        self.add_function(&function.sig, &function.block, self.of_trait);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.add_function(&function.sig, body, false);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.check_doc(&field.vis, &field.attrs, name);
        }
        visit::visit_field(self, field);
    }
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
//! A module about pods.

/// A pod that has an address.
pub struct Pod {
    /// Address of the pod's network.
    pub address: u32,
}

impl Pod {
    /// Whether anything listens there.
    pub fn is_ready(&self) -> bool {
        // Port 0 is never bound.
        self.address > 0
    }

    fn take_address(&mut self) -> u32 {
        std::mem::take(&mut self.address)
    }
}

impl Iterator for Pod {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    struct Pod;
    fn take() {
        // Not counted.
    }
}
";

    fn production(files: &[(&str, &str)]) -> Production {
        let mut all = Production::default();
        for (file, text) in files {
            all.add(file, text).unwrap();
        }
        all
    }

    fn faults(text: &str) -> Vec<String> {
        production(&[("crates/a/src/lib.rs", text)]).faults()
    }

    #[test]
    fn good_code_has_no_fault_and_is_counted_without_its_tests() {
        assert_eq!(faults(GOOD), Vec::<String>::new());
        let shares = production(&[("crates/a/src/lib.rs", GOOD)]).shares();
        assert_eq!((shares.functions, shares.one_word), (3, 1));
        assert_eq!((shares.types, shares.shared_types), (1, 0));
        assert_eq!((shares.code_lines, shares.comment_lines), (17, 1));
    }

    #[test]
    fn a_mutation_of_each_rule_is_a_fault_with_its_line() {
        let mutations = [
            (
                "fn is_ready(&self)",
                "fn is_ready(&mut self)",
                "lib.rs:11: `is_ready` is named like a question",
            ),
            ("fn take_address", "fn take", "lib.rs:16: `take`: name what is handled"),
            ("Address of the pod's network.", "Its address.", "lib.rs:6: a doc comment"),
            ("A pod that has an address.", "A pod.", "lib.rs:4: a doc comment"),
            ("Whether anything listens there.", "Whether ready.", "lib.rs:11: a doc comment"),
        ];
        for (good, bad, expected) in mutations {
            let found = faults(&GOOD.replace(good, bad));
            assert!(matches!(&found[..], [fault] if fault.contains(expected)), "{bad}: {found:?}");
        }
    }

    #[test]
    fn a_traits_own_method_keeps_its_name() {
        let text = GOOD.replace("fn next", "fn take");
        assert_eq!(faults(&text), Vec::<String>::new());
    }

    #[test]
    fn a_name_is_taken_once_in_a_crate_and_shared_between_crates() {
        let twice = production(&[("crates/a/src/x.rs", GOOD), ("crates/a/src/y.rs", "enum Pod {}")]);
        assert_eq!(twice.faults(), ["crates/a/src/y.rs:1: another type of crates/a is called `Pod` too"]);
        let apart = production(&[("crates/a/src/x.rs", GOOD), ("crates/b/src/y.rs", "type Pod = u8;")]);
        assert_eq!(apart.faults(), Vec::<String>::new());
        assert_eq!(apart.shares().shared_types, 2);
    }
}
