//! The generated meshes cover every kind and every reason. Otherwise the property tests would test nothing.

use std::collections::BTreeSet;

use emcee_api::Reason;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::ResourceVerdict;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::mesh;

#[test]
fn generated_meshes_have_every_kind_and_every_reason() {
    let mut runner = TestRunner::deterministic();
    let (mut kinds, mut reasons, mut programmed) = (BTreeSet::new(), BTreeSet::new(), 0);
    for _ in 0..3_000 {
        let mesh = mesh::mesh().new_tree(&mut runner).expect("a mesh").current();
        let translation = mesh.translate();
        kinds.extend(translation.objects().iter().map(emcee_core::plan::GeneratedObject::kind));
        for (_, verdict) in translation.verdicts() {
            programmed += u32::from(verdict.is_programmed());
            reasons.extend(verdict_reasons(&verdict));
        }
    }
    let missing: Vec<_> = GeneratedKind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
    assert!(missing.is_empty(), "no mesh has a {missing:?}");
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !reasons.contains(reason) && !is_tested_elsewhere(**reason))
        .collect();
    assert!(missing.is_empty(), "no mesh has {missing:?}");
    assert!(programmed > 3_000, "{programmed}");
}

/// Returns whether a reason is tested elsewhere. The reasons of true conditions are no problems, `LimitExceeded` needs more objects than these
/// meshes have (see `rivals` and `limits`), and the others occur only when objects are written.
fn is_tested_elsewhere(reason: Reason) -> bool {
    use Reason::{
        Accepted, AnyNamespace, AnyNetwork, ApplyFailed, CertificateValid, Conflict, Forbidden, KindMissing,
        LimitExceeded, NoImportNamespace, PeerCertificate, Programmed, Ready,
    };
    let is_positive = matches!(reason, Accepted | Programmed | Ready | CertificateValid);
    // Warnings about one field, which the tests of `emcee validate` show: `cli/findings.rs` and `cli/mistakes.rs`.
    let is_of_one_field = matches!(reason, AnyNamespace | AnyNetwork | NoImportNamespace | PeerCertificate);
    is_positive
        || is_of_one_field
        || matches!(reason, LimitExceeded | Conflict | ApplyFailed | KindMissing | Forbidden)
}

fn verdict_reasons(verdict: &ResourceVerdict) -> Vec<Reason> {
    let certificate = verdict.certificate.iter().filter_map(|result| result.as_ref().err());
    let problems = verdict.refusals.iter().chain(&verdict.failures).chain(&verdict.warnings);
    let rest = verdict.not_ready.iter().chain(certificate).map(|problem| &**problem);
    problems.chain(rest).map(|problem| problem.reason).collect()
}
