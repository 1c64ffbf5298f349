//! Selects a relationship or a peer by name, or the only one if no name is given.

use std::fmt;

use emcee_core::key::ObjectKey;
use thiserror::Error;

/// Largest number of names in an error message.
const MAX_NAMES_SHOWN: usize = 20;
/// Largest edit distance between a name and a suggestion for it.
const MAX_TYPO_DISTANCE: usize = 3;

/// Why nothing was selected. Each message lists the names that exist.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SelectionError {
    /// Nothing exists that could be selected.
    #[error("{0}")]
    NothingToSelect(String),
    /// No item has the given name.
    #[error("{what} ({})", suggest_names(.wanted, .names))]
    UnknownName {
        /// Description of the problem.
        what: String,
        /// Name that was given.
        wanted: String,
        /// Names that exist.
        names: Vec<String>,
    },
    /// More than one item matches.
    #[error("{what}: say which ({})", NameList(.names))]
    Ambiguous {
        /// Description of the problem.
        what: String,
        /// Names of the matching items.
        names: Vec<String>,
    },
}

/// Selects the relationship with the given name, or whose MeshFedConfig has that `namespace/name`. Without a name,
/// selects the only relationship.
///
/// # Errors
/// No relationship matches, or more than one does.
pub fn choose_relationship<'a, T>(
    all: &'a [T],
    requested: Option<&str>,
    of: impl Fn(&'a T) -> (&'a str, &'a ObjectKey),
) -> Result<&'a T, SelectionError> {
    let fed_config = |one: &'a T| of(one).1.to_string();
    let found: Vec<&T> = match requested {
        None => all.iter().collect(),
        // A MeshFedConfig's name contains a `/` and a relationship's does not, so the two cannot be confused.
        Some(requested) => match all.iter().find(|one| fed_config(one) == requested) {
            Some(found) => vec![found],
            None => all.iter().filter(|one| of(one).0 == requested).collect(),
        },
    };
    match (found.as_slice(), requested) {
        ([one], _) => Ok(one),
        ([], Some(requested)) if !all.is_empty() => Err(SelectionError::UnknownName {
            what: format!("there is no relationship {requested:?} here"),
            wanted: requested.to_owned(),
            names: all.iter().map(|one| of(one).0.to_owned()).collect(),
        }),
        ([], _) => Err(SelectionError::NothingToSelect(
            "there is no relationship here (no valid MeshFedConfig)".to_owned(),
        )),
        (several, requested) => Err(SelectionError::Ambiguous {
            what: match requested {
                Some(requested) => format!("there are several MeshFedConfigs of relationship {requested}"),
                None => "there are several relationships".to_owned(),
            },
            // Relationships of one name differ only in their MeshFedConfigs.
            names: several
                .iter()
                .map(|one| if requested.is_some() { fed_config(one) } else { of(one).0.to_owned() })
                .collect(),
        }),
    }
}

/// Selects the peer with the given name. Without a name, selects the only peer.
///
/// # Errors
/// No peer matches, or the name is missing and there is more than one.
pub fn choose_peer<'a, T>(
    relationship: &str,
    all: &'a [T],
    requested: Option<&str>,
    name: impl Fn(&'a T) -> &'a str,
) -> Result<&'a T, SelectionError> {
    let names = || all.iter().map(|one| name(one).to_owned()).collect();
    match (all, requested) {
        ([], _) => Err(SelectionError::NothingToSelect(format!(
            "relationship {relationship} has no peer (spec.peers of its MeshFedConfig)"
        ))),
        ([only], None) => Ok(only),
        (_, None) => Err(SelectionError::Ambiguous {
            what: format!("relationship {relationship} has several peers"),
            names: names(),
        }),
        (_, Some(requested)) => {
            all.iter().find(|one| name(one) == requested).ok_or_else(|| SelectionError::UnknownName {
                what: format!("relationship {relationship} has no peer {requested:?}"),
                wanted: requested.to_owned(),
                names: names(),
            })
        }
    }
}

/// Lists the names that exist, and suggests the one that is closest to `wanted`.
pub fn suggest_names(requested: &str, names: &[String]) -> String {
    let distance = |name: &&String| strsim::damerau_levenshtein(name, requested);
    // `wanted` comes from a user or a URL. The distance takes quadratic time, so skip what is longer than any name.
    let near = names.iter().filter(|_| requested.len() <= 253).min_by_key(distance);
    // A short name is similar to almost any other: at most half of it may differ.
    match near.filter(|near| distance(near) <= MAX_TYPO_DISTANCE.min(requested.len() / 2)) {
        Some(near) => format!("did you mean {near}? there are: {}", NameList(names)),
        None => format!("there are: {}", NameList(names)),
    }
}

/// Formats the first [`MAX_NAMES_SHOWN`] names, and the number of others.
struct NameList<'a>(&'a [String]);

impl fmt::Display for NameList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: Vec<_> = self.0.iter().take(MAX_NAMES_SHOWN).map(String::as_str).collect();
        f.write_str(&listed.join(", "))?;
        match self.0.len().saturating_sub(MAX_NAMES_SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type NamedRelationship = (&'static str, ObjectKey);

    fn relationships() -> Vec<NamedRelationship> {
        vec![
            ("blue", ObjectKey::new("mesh", "blue")),
            ("yellow", ObjectKey::new("mesh", "gelb")),
            ("red", ObjectKey::new("a", "red")),
            ("red", ObjectKey::new("b", "red")),
        ]
    }

    fn choose(requested: Option<&str>) -> Result<String, String> {
        let all = relationships();
        let found = choose_relationship(&all, requested, |(name, key)| (name, key));
        found.map(|(_, key)| key.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_relationship_is_chosen_by_its_name_or_by_its_mesh_fed_config() {
        assert_eq!(choose(Some("yellow")), Ok("mesh/gelb".into()));
        assert_eq!(choose(Some("b/red")), Ok("b/red".into()));
    }

    #[test]
    fn an_unknown_name_lists_the_known_names() {
        assert_eq!(
            choose(Some("yelow")).unwrap_err(),
            r#"there is no relationship "yelow" here (did you mean yellow? there are: blue, yellow, red, red)"#
        );
        assert_eq!(
            choose(Some("green")).unwrap_err(),
            r#"there is no relationship "green" here (there are: blue, yellow, red, red)"#
        );
    }

    #[test]
    fn an_ambiguous_choice_is_rejected() {
        assert_eq!(
            choose(Some("red")).unwrap_err(),
            "there are several MeshFedConfigs of relationship red: say which (a/red, b/red)"
        );
        assert_eq!(
            choose(None).unwrap_err(),
            "there are several relationships: say which (blue, yellow, red, red)"
        );
    }

    #[test]
    fn the_only_one_needs_no_name() {
        let name = |peer: &&'static str| *peer;
        assert_eq!(choose_peer("blue", &["m2"], None, name), Ok(&"m2"));
        assert_eq!(
            choose_peer("blue", &[], None, name).unwrap_err().to_string(),
            "relationship blue has no peer (spec.peers of its MeshFedConfig)"
        );
        assert_eq!(
            choose_peer("blue", &["m2", "m3"], None, name).unwrap_err().to_string(),
            "relationship blue has several peers: say which (m2, m3)"
        );
        assert_eq!(
            choose_peer("blue", &["m2", "m3"], Some("m4"), name).unwrap_err().to_string(),
            r#"relationship blue has no peer "m4" (did you mean m2? there are: m2, m3)"#
        );
    }

    #[test]
    fn a_long_list_of_names_is_truncated() {
        let names: Vec<_> = (0..25).map(|number| format!("mesh-{number}")).collect();
        let text = suggest_names(&"x".repeat(100_000), &names);
        assert!(text.ends_with("mesh-19 and 5 more"), "{text}");
    }
}
