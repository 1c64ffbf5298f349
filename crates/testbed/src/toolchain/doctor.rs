//! Finds out what this machine lacks, and how to get it on Debian.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Binaries;
use crate::progress::print_progress;

/// The result of checking one requirement.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Name of the requirement.
    pub name: &'static str,
    /// What is wrong and how to fix it; `None` if it is met.
    pub problem: Option<String>,
}

/// Programs, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("etcd", "etcd-server"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("iptables-restore", "iptables"),
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("chroot", "coreutils"),
];

/// Checks all requirements of a bed.
#[must_use]
pub fn examine() -> Vec<Finding> {
    let mut findings = vec![check_root(), check_overlay()];
    findings.extend(PROGRAMS.iter().map(|(name, package)| check_program(name, &install_line(package))));
    if !Binaries::expected().is_ok_and(|binaries| binaries.missing().is_empty()) {
        findings.extend(check_builders());
    }
    findings
}

/// Checks what is only needed to fill the cache.
fn check_builders() -> Vec<Finding> {
    let go = check_program("go", "install Go 1.26 or newer from https://go.dev/dl");
    vec![go, check_program("python3", &install_line("python3 python3-pip")), check_pip()]
}

/// Fails with all problems in one line.
pub fn require() -> Result<()> {
    fail_with_problems(examine())
}

/// Like [`require`], for what is only needed to fill the cache.
pub(super) fn require_builders() -> Result<()> {
    fail_with_problems(check_builders())
}

fn fail_with_problems(findings: Vec<Finding>) -> Result<()> {
    let problems: Vec<String> = findings.into_iter().filter_map(|finding| finding.problem).collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(())
}

/// Installs missing Debian packages, if this process may; returns their names.
pub fn install() -> Result<Vec<&'static str>> {
    let may = rustix::process::geteuid().is_root() && find_in_path("apt-get").is_some();
    let mut packages: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, _)| find_in_path(name).is_none())
        .map(|(_, package)| *package)
        .collect();
    if check_pip().problem.is_some() {
        packages.push("python3-pip");
    }
    packages.dedup();
    if !may || packages.is_empty() {
        return Ok(Vec::new());
    }
    print_progress(format_args!("installing {}", packages.join(" ")));
    apt_get(&["update", "-qq"])?;
    apt_get(&[&["install", "-qq", "-y", "--no-install-recommends"], &packages[..]].concat())?;
    Ok(packages)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    let done = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).output();
    let done = done.context("cannot start apt-get")?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "apt-get {}: {}", arguments.join(" "), last_line(&stderr));
    Ok(())
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default()
}

fn install_line(package: &str) -> String {
    format!("apt-get install -y {package}")
}

fn check_root() -> Finding {
    let is_root = rustix::process::geteuid().is_root();
    new_finding("root", is_root, "not root, and network namespaces need it: run with sudo")
}

fn check_overlay() -> Finding {
    let known = std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("overlay"));
    new_finding("overlayfs", known, "no overlayfs in the kernel: modprobe overlay")
}

fn check_program(name: &'static str, fix: &str) -> Finding {
    new_finding(name, find_in_path(name).is_some(), &format!("{name} not found: {fix}"))
}

fn check_pip() -> Finding {
    let done = Command::new("python3").args(["-m", "pip", "--version"]).output();
    let is_installed = done.is_ok_and(|done| done.status.success());
    new_finding("pip", is_installed, "python3 has no pip: apt-get install -y python3-pip")
}

fn new_finding(name: &'static str, well: bool, problem: &str) -> Finding {
    Finding { name, problem: (!well).then(|| problem.to_owned()) }
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
