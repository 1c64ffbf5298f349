//! `emcee certs` with real folders. webpki and, if it is installed, openssl verify the certificates.

#[path = "certs/folder.rs"]
mod folder;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use emcee_core::inputs::Credential;
use emcee_testkit::certs::{Ca, Leaf};
use folder::{
    TWO_MESHES, file_mode, folder_contents, folder_of_two, is_refused, key_identifiers, now,
    openssl_is_found, read_secret, refusal_text, run_certs, run_certs_at, run_openssl, secret_data,
    secret_labels, verify, with_certificate,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

#[test]
fn certs_creates_a_relationship_of_two_meshes() {
    let dir = TempDir::new().expect("a temporary folder");
    let dir = dir.path().join("deeper/blue");
    let summary = run_certs(&dir, TWO_MESHES).expect("a new relationship");
    for (mesh, name) in [("m1", "m1.blue.example"), ("m2", "m2.blue.example")] {
        let secret = read_secret(&dir, mesh);
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(secret.metadata.name.as_deref(), Some("blue"));
        assert_eq!(secret.metadata.namespace.as_deref(), Some("blue"));
        assert_eq!(secret_labels(&secret), [("relationship", "blue")]);
        assert_eq!(verify(&secret, name, now()), Ok(()));
        assert!(verify(&secret, "m3.blue.example", now()).is_err());
        let key = rcgen::KeyPair::from_pem(&secret_data(&secret, "tls.key")).expect("a key");
        with_certificate(&secret_data(&secret, "tls.crt"), |leaf| {
            assert_eq!(leaf.public_key().subject_public_key.data, key.public_key_raw());
        });
        let read = Credential::from_secret(&secret).expect("a kubernetes.io/tls Secret");
        assert_eq!((read.problem, read.usable_in_place, read.names), (None, true, vec![name.to_owned()]));
        assert_eq!(secret_data(&secret, "ca.crt"), fs::read_to_string(dir.join("ca.crt")).expect("ca.crt"));
    }
    assert!(summary.contains("ca.key: new; keep it out of the clusters"), "{summary}");
    assert!(summary.contains("m1.yaml: new, m1.blue.example, until 2027-12-01T00:00:00Z"), "{summary}");
    assert!(!summary.contains("warning"), "{summary}");
}

#[test]
fn files_with_keys_are_readable_by_the_owner_only() {
    let dir = folder_of_two();
    let yaml = fs::read_to_string(dir.path().join("m1.yaml")).expect("m1.yaml");
    assert!(yaml.contains("\n  tls.crt: LS0t"), "base64 is on one line: {yaml}");
    for name in ["ca.key", "m1.yaml", "m2.yaml"] {
        assert_eq!(file_mode(&dir.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(folder_contents(dir.path()).len(), 4, "no temporary file remains");
    let made = dir.path().join("made");
    run_certs(&made, "--relationship red --mesh m1=m1.red.example").expect("a new relationship");
    assert_eq!(file_mode(&made), 0o700);
}

#[test]
fn certificates_have_the_expected_fields() {
    let dir = folder_of_two();
    let authority = fs::read_to_string(dir.path().join("ca.crt")).expect("ca.crt");
    let key_id = with_certificate(&authority, |ca| {
        let constraints = ca.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = ca.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
        assert_eq!(ca.subject().to_string(), "O=Emcee, OU=relationship CA, CN=blue");
        assert_eq!(ca.validity().not_after.to_datetime(), now() + Duration::days(3650));
        key_identifiers(ca).0
    });
    let serials = ["m1", "m2"].map(|mesh| {
        with_certificate(&secret_data(&read_secret(dir.path(), mesh), "tls.crt"), |leaf| {
            let constraints = leaf.basic_constraints().unwrap().unwrap();
            assert!(!constraints.value.ca);
            let usage = leaf.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_encipherment());
            let extended = leaf.extended_key_usage().unwrap().unwrap().value;
            assert!(extended.server_auth && extended.client_auth && !extended.any);
            assert_eq!(leaf.validity().not_before.to_datetime(), now() - Duration::minutes(5));
            assert_eq!(leaf.validity().not_after.to_datetime(), now() + Duration::days(365));
            let (own, issuer) = key_identifiers(leaf);
            assert!(own.is_some() && issuer.is_some() && issuer == key_id);
            leaf.raw_serial().to_vec()
        })
    });
    assert_ne!(serials[0], serials[1]);
    assert!(serials.iter().all(|serial| (16..=20).contains(&serial.len()) && serial[0] < 0x80));
}

#[test]
fn openssl_accepts_the_certificates() {
    if !openssl_is_found() {
        return;
    }
    for kind in ["ecdsa-p256", "ecdsa-p384"] {
        let dir = TempDir::new().expect("a temporary folder");
        let options =
            format!("{TWO_MESHES} --key-type {kind} --spiffe m1=spiffe://m1.example/ns/blue/sa/gateway");
        run_certs_at(OffsetDateTime::now_utc(), dir.path(), &options).expect("a new relationship");
        let m1 = read_secret(dir.path(), "m1");
        for key in ["tls.crt", "tls.key"] {
            fs::write(dir.path().join(key), secret_data(&m1, key)).expect("written");
        }
        for purpose in ["sslserver", "sslclient"] {
            let words = format!(
                "verify -x509_strict -CAfile ca.crt -purpose {purpose} -verify_hostname m1.blue.example tls.crt"
            );
            assert_eq!(run_openssl(dir.path(), &words), "tls.crt: OK\n");
        }
        let of_key = run_openssl(dir.path(), "pkey -in tls.key -pubout");
        assert_eq!(of_key, run_openssl(dir.path(), "x509 -in tls.crt -noout -pubkey"));
        let text = run_openssl(dir.path(), "x509 -in tls.crt -noout -text");
        for words in [
            "Issuer: O = Emcee, OU = relationship CA, CN = blue",
            "DNS:m1.blue.example, URI:spiffe://m1.example/ns/blue/sa/gateway",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "CA:FALSE",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}

#[test]
fn names_and_labels_are_as_requested() {
    let dir = TempDir::new().expect("a temporary folder");
    let words = "--relationship limited-trust --namespace istio-system --mesh c1=c1.example,gw.c1.example \
        --mesh c2=c2.example --label mesh=limited-trust --label c1:secret=cluster1 --label c2:secret=cluster2 \
        --label c2:relationship=other";
    run_certs(dir.path(), words).expect("a new relationship");
    let (c1, c2) = (read_secret(dir.path(), "c1"), read_secret(dir.path(), "c2"));
    let default = ("relationship", "limited-trust");
    assert_eq!(secret_labels(&c1), [("mesh", "limited-trust"), default, ("secret", "cluster1")]);
    assert_eq!(
        secret_labels(&c2),
        [("mesh", "limited-trust"), ("relationship", "other"), ("secret", "cluster2")]
    );
    assert_eq!(c1.metadata.namespace.as_deref(), Some("istio-system"));
    for name in ["c1.example", "gw.c1.example"] {
        assert_eq!(verify(&c1, name, now()), Ok(()));
    }
}

#[test]
fn a_later_run_adds_a_mesh_and_keeps_the_others() {
    let dir = folder_of_two();
    let before = folder_contents(dir.path());
    let later = now() + Duration::days(40);
    let words = format!("{TWO_MESHES} --mesh m3=m3.blue.example");
    let summary = run_certs_at(later, dir.path(), &words).expect("m3 is added");
    let mut after = folder_contents(dir.path());
    assert!(after.remove(&dir.path().join("m3.yaml")).is_some());
    assert_eq!(after, before);
    assert_eq!(verify(&read_secret(dir.path(), "m3"), "m3.blue.example", later), Ok(()));
    assert!(summary.contains("m1.yaml: left as it is, m1.blue.example"), "{summary}");
    assert!(summary.contains("ca.key: reused; keep it out of the clusters"), "{summary}");
    let again = run_certs_at(later, dir.path(), &words).expect("nothing changes");
    assert!(!again.contains("next,"), "{again}");
}

#[test]
fn a_rotation_changes_only_one_certificate() {
    let dir = TempDir::new().expect("a temporary folder");
    let words = "--label m1:secret=one --namespace ns --spiffe m1=spiffe://m1.example/a";
    run_certs(dir.path(), &format!("{TWO_MESHES} {words}")).expect("a new relationship");
    let (old, before) = (read_secret(dir.path(), "m1"), folder_contents(dir.path()));
    let later = now() + Duration::days(300);
    run_certs_at(later, dir.path(), "--relationship blue --rotate m1").expect("m1 is rotated");
    let new = read_secret(dir.path(), "m1");
    assert_eq!(new.metadata, old.metadata);
    assert_eq!(verify(&new, "m1.blue.example", now() + Duration::days(600)), Ok(()));
    assert_ne!(secret_data(&new, "tls.key"), secret_data(&old, "tls.key"));
    assert_eq!(secret_data(&new, "ca.crt"), secret_data(&old, "ca.crt"));
    with_certificate(&secret_data(&new, "tls.crt"), |leaf| {
        let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        assert_eq!(names.len(), 2, "the SPIFFE ID stays: {names:?}");
    });
    let m1 = dir.path().join("m1.yaml");
    assert_eq!(file_mode(&m1), 0o600);
    let rest = |mut files: BTreeMap<PathBuf, Vec<u8>>| {
        files.remove(&m1);
        files
    };
    assert_eq!(rest(folder_contents(dir.path())), rest(before));
}

#[test]
fn a_rotation_applies_new_arguments() {
    let dir = folder_of_two();
    let words = "--relationship blue --rotate m1 --mesh m1=new.blue.example --label team=a --namespace other";
    run_certs(dir.path(), words).expect("m1 is rotated");
    let m1 = read_secret(dir.path(), "m1");
    assert_eq!(verify(&m1, "new.blue.example", now()), Ok(()));
    assert!(verify(&m1, "m1.blue.example", now()).is_err());
    assert_eq!(secret_labels(&m1), [("relationship", "blue"), ("team", "a")]);
    assert_eq!(m1.metadata.namespace.as_deref(), Some("other"));
    let swap =
        "--relationship blue --rotate m1 --mesh m1=m2.blue.example --rotate m2 --mesh m2=new.blue.example";
    run_certs(dir.path(), swap).expect("names may be swapped when both are rotated");
}

#[test]
fn a_users_own_ca_is_used() {
    let dir = TempDir::new().expect("a temporary folder");
    let (own, other) = (Ca::new("Example Inc. root"), Ca::new("other"));
    fs::write(dir.path().join("ca.crt"), format!("{}{}", own.pem(), other.pem())).expect("written");
    fs::write(dir.path().join("ca.key"), own.key_pem()).expect("written");
    let summary = run_certs(dir.path(), TWO_MESHES).expect("a certificate of the own CA");
    let m1 = read_secret(dir.path(), "m1");
    assert_eq!(verify(&m1, "m1.blue.example", now()), Ok(()));
    assert_eq!(
        secret_data(&m1, "ca.crt").matches("BEGIN CERTIFICATE").count(),
        2,
        "additional roots are kept"
    );
    assert!(summary.contains("others can read it"), "{summary}");
}

#[test]
fn all_invalid_arguments_are_reported_at_once() {
    let dir = TempDir::new().expect("a temporary folder");
    let words = "--relationship binding --mesh M1=m1.blue.example --mesh m2=*.blue.example,10.0.0.1 --mesh m3 \
        --namespace A --validity 1y --label x=y:z --label nosuch:a=b --spiffe m2=https://m2 --rotate ../x";
    let refused = refusal_text(dir.path(), words);
    let expected = [
        "--relationship \"binding\": is reserved",
        "--mesh \"M1=m1.blue.example\": \"M1\" is not a DNS label",
        "\"*.blue.example\": a wildcard is not allowed",
        "\"10.0.0.1\" is an IP address",
        "--mesh \"m3\": must be MESH=DNS-NAME",
        "--namespace \"A\": \"A\" is not a DNS label",
        "--validity \"1y\": not a period (a number and d, h or m",
        "--label \"x=y:z\": \"y:z\" is not a label value",
        "--label \"nosuch:a=b\": no --mesh or --rotate names mesh \"nosuch\"",
        "--spiffe \"m2=https://m2\": \"https://m2\" is not a SPIFFE ID",
        "--rotate \"../x\": \"../x\" is not a DNS label",
    ];
    for words in expected {
        assert!(refused.contains(words), "{words}\n{refused}");
    }
    assert_eq!(refused.lines().count(), expected.len(), "{refused}");
}

#[test]
fn each_argument_is_refused_with_a_reason() {
    let dir = TempDir::new().expect("a temporary folder");
    for (words, reason) in [
        ("--mesh", "name at least one mesh"),
        ("--mesh m1=a.example --mesh m1=b.example", "\"m1\" is given twice; all its names go into one"),
        ("--mesh m1=a.example --mesh m2=a.example", "is given to \"m1\" and to \"m2\""),
        ("--mesh m1=a.example,a.example", "has a name twice"),
        ("--mesh m1=", "\"\" is not a DNS name"),
        ("--mesh m1=bücher.example", "in their xn-- form"),
        ("--mesh m1=a.example --spiffe m1=spiffe://a/b --spiffe m1=spiffe://a/c", "one SPIFFE ID"),
        (
            "--mesh m1=a.example --mesh m2=b.example --spiffe m1=spiffe://a/b --spiffe m2=spiffe://a/b",
            "has the same one",
        ),
        ("--mesh m1=a.example --spiffe m2=spiffe://a/b", "no --mesh or --rotate names mesh \"m2\""),
        ("--mesh m1=a.example --label a", "must be KEY=VALUE"),
        ("--mesh m1=a.example --label a=b --label a=c", "\"a\" is given twice"),
        ("--mesh m1=a.example --label emcee.io/owner-kind=x", "marks objects that Emcee creates and removes"),
        ("--mesh m1=a.example --validity 0d", "out of range"),
        ("--mesh m1=a.example --validity 10d --ca-validity 9d", "is longer than --ca-validity 9d"),
        ("--rotate m1", "m1.yaml to rotate; to add the mesh: --mesh m1=NAME"),
    ] {
        let words = if words == "--mesh" { "" } else { words };
        let refused = refusal_text(dir.path(), &format!("--relationship blue {words}"));
        assert!(refused.contains(reason), "{words}: {refused}");
    }
    for name in ["Blue", "", "a.b", "-", &"a".repeat(64)] {
        let words = format!("--relationship={name} --mesh m1=a.example");
        assert!(refusal_text(dir.path(), &words).contains("is not a DNS label"), "{name}");
    }
}

/// The name of a mesh becomes the name of a file. The name of a relationship becomes that of a Secret and its
/// namespace.
#[test]
fn no_name_escapes_the_folder() {
    let place = TempDir::new().expect("a temporary folder");
    let dir = place.path().join("certs");
    for name in
        ["..", ".", "../m1", "a/b", "/etc/m1", "..\\m1", "m1.yaml", "ca\u{202e}", "m1%2f", "-m1", "m1\n"]
    {
        for words in [
            vec![format!("--mesh={name}=m1.blue.example"), "--relationship=blue".into()],
            vec!["--mesh=m1=m1.blue.example".into(), format!("--relationship={name}")],
            vec![
                "--mesh=m1=m1.blue.example".into(),
                "--relationship=blue".into(),
                format!("--namespace={name}"),
            ],
            vec![format!("--rotate={name}"), "--relationship=blue".into()],
        ] {
            assert!(is_refused(&dir, &words), "{words:?}");
        }
    }
    for name in ["*.blue.example", "*", "m1.*.example", "../m1", "m1.blue.example/..", "m1 .blue.example"] {
        let words = [format!("--mesh=m1={name}"), "--relationship=blue".into()];
        assert!(is_refused(&dir, &words), "{words:?}");
    }
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0, "something was written");
}

#[test]
fn conflicts_with_the_folder_are_refused() {
    let dir = folder_of_two();
    let refused = refusal_text(dir.path(), "--relationship blue --mesh m3=m1.blue.example --rotate m4");
    assert!(
        refused.contains("--mesh \"m3\": m1.blue.example is in the certificate of mesh \"m1\""),
        "{refused}"
    );
    assert!(refused.contains("m4.yaml to rotate"), "both at once: {refused}");

    fs::write(dir.path().join("m5.yaml"), "kind: ConfigMap\n").expect("written");
    let refused = refusal_text(dir.path(), "--relationship blue --mesh m5=m5.blue.example");
    assert!(refused.contains("m5.yaml is not a kubernetes.io/tls Secret"), "{refused}");

    let other = refusal_text(dir.path(), "--relationship yellow --mesh m3=m3.yellow.example");
    assert!(other.contains("is the CA of relationship \"blue\", not of \"yellow\""), "{other}");

    let kept = run_certs(dir.path(), "--relationship blue --mesh m1=x.blue.example").expect("m1 is kept");
    assert!(kept.contains("m1.yaml: its names differ from those asked for; --rotate m1"), "{kept}");
}

#[test]
fn the_validity_of_the_ca_is_checked() {
    let dir = folder_of_two();
    let add = "--relationship blue --mesh m3=m3.blue.example";
    let message =
        |moment, words: &str| run_certs_at(moment, dir.path(), words).expect_err("refused").to_string();
    let expired = message(now() + Duration::days(3650), add);
    assert!(expired.contains("ca.crt expired at 2036-11-28T00:00:00Z"), "{expired}");
    let short = message(now() + Duration::days(3400), add);
    assert!(short.contains("before a certificate of 365d; ask for less: --validity 250d"), "{short}");
    let early = message(now() - Duration::days(1), add);
    assert!(early.contains("is valid only from 2026-11-30T23:55:00Z"), "{early}");
    run_certs_at(now() + Duration::days(3400), dir.path(), &format!("{add} --validity 250d"))
        .expect("a validity within that of the CA");
    run_certs_at(now() + Duration::days(3651), dir.path(), TWO_MESHES)
        .expect("no refusal, because no certificate is issued");
}

#[test]
fn an_invalid_ca_is_reported() {
    let dir = folder_of_two();
    let (crt, key) = (dir.path().join("ca.crt"), dir.path().join("ca.key"));
    let (good_crt, good_key) = (fs::read(&crt).expect("ca.crt"), fs::read(&key).expect("ca.key"));
    let other = Ca::new("other");
    let leaf = other.issue(&Leaf::dns("a.example"));
    let add = "--relationship blue --mesh m3=m3.blue.example";
    for (certificate, private, reason) in [
        (good_crt.as_slice(), other.key_pem().as_bytes(), "ca.key is not the key of"),
        (&good_crt, b"nonsense", "ca.key: is not a private key"),
        (b"", &good_key, "ca.crt: is not a PEM certificate"),
        (&good_crt[..200], &good_key, "ca.crt: is not a PEM certificate"),
        (leaf.certificate.as_bytes(), leaf.key.as_bytes(), "ca.crt: is not a CA"),
        (&good_crt, b"\xff\xfe", "cannot read"),
    ] {
        fs::write(&crt, certificate).expect("written");
        fs::write(&key, private).expect("written");
        let refused = refusal_text(dir.path(), add);
        assert!(refused.contains(reason), "{reason}: {refused}");
        assert!(!refused.contains("PRIVATE KEY"), "{refused}");
    }
}

#[test]
fn an_incomplete_ca_is_refused() {
    let dir = folder_of_two();
    let (crt, key) = (dir.path().join("ca.crt"), dir.path().join("ca.key"));
    let add = "--relationship blue --mesh m3=m3.blue.example";
    let (aside, key_aside) = (dir.path().join("aside"), dir.path().join("key-aside"));
    fs::rename(&key, &key_aside).expect("moved");
    assert!(refusal_text(dir.path(), add).contains("ca.crt exists but ca.key does not"));
    fs::rename(&crt, &aside).expect("moved");
    assert!(refusal_text(dir.path(), add).contains("m1.yaml exists but ca.crt and ca.key do not"));
    fs::rename(&key_aside, &key).expect("moved");
    assert!(refusal_text(dir.path(), add).contains("ca.key exists but ca.crt does not"));
}

#[test]
fn cas_created_by_openssl_are_used() {
    if !openssl_is_found() {
        return;
    }
    let make = |options: &str| {
        let dir = TempDir::new().expect("a temporary folder");
        let extensions = "-addext keyUsage=critical,keyCertSign,cRLSign -days 3650 -nodes";
        run_openssl(dir.path(), &format!("req -x509 -keyout ca.key -out ca.crt {extensions} {options}"));
        dir
    };
    // Later than the start of openssl's validity, which may be the current second.
    let today = OffsetDateTime::now_utc() + Duration::minutes(1);
    let rsa = make("-newkey rsa:2048 -subj /O=Example/CN=Root");
    run_certs_at(today, rsa.path(), TWO_MESHES).expect("an RSA key signs");
    assert_eq!(verify(&read_secret(rsa.path(), "m1"), "m1.blue.example", today), Ok(()));

    // A subject with a repeated part cannot be copied into issued certificates, so no chain would be valid.
    let twice = make("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /DC=com/DC=example/CN=Root");
    let refused = run_certs_at(today, twice.path(), TWO_MESHES).expect_err("refused").to_string();
    assert!(refused.contains("ca.crt: has a subject that cannot be copied"), "{refused}");
}

#[test]
fn a_failure_removes_files_already_placed() {
    let dir = TempDir::new().expect("a temporary folder");
    // The error occurs only when m2.yaml is renamed. Then the CA and m1.yaml are already in place.
    fs::create_dir(dir.path().join("m2.yaml")).expect("made");
    assert!(refusal_text(dir.path(), TWO_MESHES).contains("cannot write"));
    assert!(folder_contents(dir.path()).is_empty());
}

#[test]
fn an_unwritable_folder_is_reported() {
    let dir = TempDir::new().expect("a temporary folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    for path in [file.clone(), file.join("below")] {
        let refused = run_certs(&path, TWO_MESHES).expect_err("refused").to_string();
        assert!(refused.starts_with("cannot ") && refused.contains("file"), "{refused}");
    }
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("made");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("set");
    if fs::write(closed.join("probe"), "").is_ok() {
        println!("skipped: this user can write everywhere");
        return;
    }
    assert!(run_certs(&closed, TWO_MESHES).expect_err("refused").to_string().contains("cannot write"));
}
