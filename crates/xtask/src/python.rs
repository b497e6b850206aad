//! Programs from PyPI that tests and benchmarks compare with or run against, each in an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use servers::System;

use crate::prerequisites;

/// What Debian and Ubuntu call what makes such environments.
const VENV_PACKAGE: &str = "python3-venv";

/// The reference that signatures are held to.
pub(crate) const SIGGEN: Packages = Packages { name: "siggen", requirements: &["siggen==2.2.20241029"] };

/// Packages that are installed together.
pub(crate) struct Packages {
    /// What to call them.
    pub(crate) name: &'static str,
    /// What is installed, each in one version. What these need in turn is as new as it is on that day.
    pub(crate) requirements: &'static [&'static str],
}

impl Packages {
    /// Installs them below a folder, unless they are there. Returns the folder of their executables, Python's included.
    pub(crate) fn install(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        self.ensure_installed(dir).with_context(|| format!("installing {} from PyPI", self.name))
    }

    fn ensure_installed(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        let (venv, done) = (dir.join("venv"), dir.join("installed"));
        let wanted = self.requirements.join("\n");
        let executables = venv.join("bin");
        if executables.join("python").exists() && fs::read_to_string(&done).is_ok_and(|found| found == wanted)
        {
            return Ok(executables);
        }
        eprintln!("installing {} into {}", self.name, venv.display());
        fs::create_dir_all(dir)?;
        if venv.exists() {
            fs::remove_dir_all(&venv)?;
        }
        let make = || Command::new("python3").args(["-m", "venv"]).arg(&venv).status();
        if !make().is_ok_and(|status| status.success()) {
            ensure!(System::here() == System::Debian, "python3 with its venv module must be installed first");
            prerequisites::install_debian(&[VENV_PACKAGE])?;
            ensure!(make()?.success(), "python3 -m venv failed");
        }
        let status = Command::new(executables.join("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(self.requirements)
            .status()?;
        ensure!(status.success(), "pip failed with {status}");
        // Last: an installation that was cut off is done again.
        fs::write(&done, wanted)?;
        Ok(executables)
    }
}
