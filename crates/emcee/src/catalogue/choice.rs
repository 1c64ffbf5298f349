//! Which relationship, and which peer: by name, or the only one.

use std::fmt;

use emcee_core::key::Key;
use thiserror::Error;

/// So many names are told.
const SHOWN: usize = 20;
/// How much may be mistyped of a name that is suggested.
const NEAR: usize = 3;

/// Why it cannot be told what is meant. Each message says what there is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unchosen {
    /// There is nothing to choose from.
    #[error("{0}")]
    None(String),
    /// None of that name.
    #[error("{what} ({})", known(.wanted, .names))]
    Unknown {
        /// In words.
        what: String,
        /// The name.
        wanted: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// Several are meant.
    #[error("{what}: say which ({})", Names(.names))]
    Several {
        /// In words.
        what: String,
        /// Their names.
        names: Vec<String>,
    },
}

/// The relationship of that name, or with that MeshFedConfig (`namespace/name`); without a name: the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn choose_relationship<'a, T>(
    all: &'a [T],
    wanted: Option<&str>,
    of: impl Fn(&'a T) -> (&'a str, &'a Key),
) -> Result<&'a T, Unchosen> {
    let fed_config = |one: &'a T| of(one).1.to_string();
    let found: Vec<&T> = match wanted {
        None => all.iter().collect(),
        Some(wanted) => match all.iter().find(|one| fed_config(one) == wanted) {
            Some(found) => vec![found],
            None => all.iter().filter(|one| of(one).0 == wanted).collect(),
        },
    };
    match (found.as_slice(), wanted) {
        ([one], _) => Ok(one),
        ([], Some(wanted)) if !all.is_empty() => Err(Unchosen::Unknown {
            what: format!("there is no relationship {wanted:?} here"),
            wanted: wanted.to_owned(),
            names: all.iter().map(|one| of(one).0.to_owned()).collect(),
        }),
        ([], _) => Err(Unchosen::None("there is no relationship here (no valid MeshFedConfig)".to_owned())),
        (several, wanted) => Err(Unchosen::Several {
            what: match wanted {
                Some(wanted) => format!("there are several MeshFedConfigs of relationship {wanted}"),
                None => "there are several relationships".to_owned(),
            },
            names: several
                .iter()
                .map(|one| if wanted.is_some() { fed_config(one) } else { of(one).0.to_owned() })
                .collect(),
        }),
    }
}

/// The peer of that name; without a name: the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn choose_peer<'a, T>(
    relationship: &str,
    all: &'a [T],
    wanted: Option<&str>,
    name: impl Fn(&'a T) -> &'a str,
) -> Result<&'a T, Unchosen> {
    let names = || all.iter().map(|one| name(one).to_owned()).collect();
    match (all, wanted) {
        ([], _) => Err(Unchosen::None(format!(
            "relationship {relationship} has no peer (spec.peers of its MeshFedConfig)"
        ))),
        ([only], None) => Ok(only),
        (_, None) => Err(Unchosen::Several {
            what: format!("relationship {relationship} has several peers"),
            names: names(),
        }),
        (_, Some(wanted)) => all.iter().find(|one| name(one) == wanted).ok_or_else(|| Unchosen::Unknown {
            what: format!("relationship {relationship} has no peer {wanted:?}"),
            wanted: wanted.to_owned(),
            names: names(),
        }),
    }
}

/// The names that there are, and which of them may be meant.
pub fn known(wanted: &str, names: &[String]) -> String {
    let distance = |name: &&String| strsim::damerau_levenshtein(name, wanted);
    // Names are of labels' length, but what is wanted comes from a user.
    let near = names.iter().filter(|_| wanted.len() <= 253).min_by_key(distance);
    match near.filter(|near| distance(near) <= NEAR.min(wanted.len() / 2)) {
        Some(near) => format!("did you mean {near}? there are: {}", Names(names)),
        None => format!("there are: {}", Names(names)),
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.0.iter().take(SHOWN).map(String::as_str).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Named = (&'static str, Key);

    fn relationships() -> Vec<Named> {
        vec![
            ("blue", Key::new("mesh", "blue")),
            ("yellow", Key::new("mesh", "gelb")),
            ("red", Key::new("a", "red")),
            ("red", Key::new("b", "red")),
        ]
    }

    fn chosen(wanted: Option<&str>) -> Result<String, String> {
        let all = relationships();
        let found = choose_relationship(&all, wanted, |(name, key)| (name, key));
        found.map(|(_, key)| key.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_relationship_is_chosen_by_its_name_or_by_its_mesh_fed_config() {
        assert_eq!(chosen(Some("yellow")), Ok("mesh/gelb".into()));
        assert_eq!(chosen(Some("b/red")), Ok("b/red".into()));
    }

    #[test]
    fn a_mistyped_name_is_answered_with_those_there_are() {
        assert_eq!(
            chosen(Some("yelow")).unwrap_err(),
            r#"there is no relationship "yelow" here (did you mean yellow? there are: blue, yellow, red, red)"#
        );
        assert_eq!(
            chosen(Some("green")).unwrap_err(),
            r#"there is no relationship "green" here (there are: blue, yellow, red, red)"#
        );
    }

    #[test]
    fn of_several_nothing_is_guessed() {
        assert_eq!(
            chosen(Some("red")).unwrap_err(),
            "there are several MeshFedConfigs of relationship red: say which (a/red, b/red)"
        );
        assert_eq!(
            chosen(None).unwrap_err(),
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
    fn a_long_list_of_names_is_cut() {
        let names: Vec<_> = (0..25).map(|number| format!("mesh-{number}")).collect();
        let text = known(&"x".repeat(100_000), &names);
        assert!(text.ends_with("mesh-19 and 5 more"), "{text}");
    }
}
