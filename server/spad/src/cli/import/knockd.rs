//! `spad import knockd`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use spa_findings::{Finding, Findings, Severity, Source};
use spad_migrate::knockd::{ImportInput, Imported, import, one_time_files};
use spad_model::Paths;

use super::write;
use crate::cli::output::{counted, note, print, print_json};
use crate::cli::{CliResult, Failure, Options, init};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// knockd's file, mostly /etc/knockd.conf
    path: PathBuf,
    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// The user that commands run as which open nothing; knockd ran them as root
    #[arg(long, value_name = "USER", default_value = "nobody")]
    run_as: String,
}

pub(crate) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let paths = options.paths();
    let spad = spad_toml(&paths)?;
    let knockd = spad_config::read_other_program_file(&arguments.path)
        .map_err(|finding| fail(&single(finding)))?;
    let one_time: BTreeMap<String, Result<Source, Finding>> = one_time_files(&knockd)
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                spad_config::read_other_program_file(Path::new(&path)),
            )
        })
        .collect();
    let now = spad_sys::clock::now().wall;
    let listed: BTreeMap<PathBuf, String> = spad_config::one_time_files(&paths.config)
        .into_iter()
        .filter_map(|path| Some((path.clone(), spad_config::one_time(&path).ok()?)))
        .collect();
    let input = ImportInput {
        existing_sequences: &listed,
        knockd: &knockd,
        spad: &spad,
        one_time: &one_time,
        run_as: &arguments.run_as,
        now,
    };
    let mut imported = import(input);
    imported.findings.extend(
        one_time
            .keys()
            .filter_map(|path| world_readable_warning(Path::new(path))),
    );
    if imported.findings.has_errors() {
        return Err(fail(&imported.findings));
    }
    // The clients' files have a say too.
    let imported_files = imported.files.iter();
    let files = imported_files
        .map(|(name, text)| (paths.config.join(name), text.clone()))
        .collect();
    let loaded = spad_config::load_text(&paths.config, imported.spad.clone(), &files, now);
    loaded.map_err(|findings| fail(&findings))?;
    for finding in
        &spad_config::check_programs_in(&Source::new(&paths.config_file(), imported.spad.clone()))
    {
        // Of what was there before, `spad check` tells.
        if is_new(finding, &spad) {
            imported
                .findings
                .push(finding.clone().with(Severity::Warning));
        }
    }
    if !imported.findings.is_empty() {
        note(&imported.findings);
    }
    if arguments.dry_run {
        return if options.json {
            report(&imported, json!(imported.files))
        } else {
            print_dry_run(&paths, &imported)
        };
    }
    if !imported.doors.is_empty() {
        write::write_import(&paths, &spad, &imported)?;
    }
    if options.json {
        // The sequences in them are nobody's business who keeps what commands print.
        return report(&imported, json!(imported.files.keys().collect::<Vec<_>>()));
    }
    print_next_steps(&paths, &imported)
}

/// A file of sequences that others could read: a copy that they cannot makes none of it new.
fn world_readable_warning(path: &Path) -> Option<Finding> {
    let mode = path.metadata().ok()?.mode() & 0o7777;
    (mode & 0o007 != 0).then(|| {
        let finding = Finding::error(path, format!("mode {mode:04o} lets others read this"));
        finding
            .with(Severity::Warning)
            .help("write new sequences if others could read it, here and in the copy")
    })
}

/// Whether it is about what comes behind the old file's end.
fn is_new(finding: &Finding, old: &Source) -> bool {
    finding.position().0 > old.text().lines().count()
}

/// spad.toml as it is, without a fault.
fn spad_toml(paths: &Paths) -> Result<Source, Failure> {
    let file = paths.config_file();
    if matches!(file.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
    {
        return Err(Failure::with_help(
            format_args!("there is no {} yet", file.display()),
            "say spad init first, then this again",
        ));
    }
    let source = spad_config::server(&paths.config)
        .and_then(|read| read)
        .map_err(|finding| fail(&single(finding)))?;
    spad_config::load_text(
        &paths.config,
        source.text().to_owned(),
        &BTreeMap::new(),
        spad_sys::clock::now().wall,
    )
    .map_err(|findings| {
        note(&findings);
        Failure::with_help(
            "the configuration that is there has errors",
            "mend it, then say this again",
        )
    })?;
    Ok(source)
}

fn single(finding: Finding) -> Findings {
    let mut findings = Findings::default();
    findings.push(finding);
    findings
}

fn fail(findings: &Findings) -> Failure {
    note(findings);
    Failure::new("nothing was changed".to_owned())
}

/// Everything that would be written.
fn print_dry_run(paths: &Paths, imported: &Imported) -> CliResult {
    if !imported.added.is_empty() {
        let (file, added) = (paths.config_file(), imported.added.trim());
        print(format_args!("# {}, at its end:\n\n{added}", file.display()))?;
    }
    for (path, text) in &imported.files {
        print(format_args!(
            "\n# {}:\n{}",
            paths.config.join(path).display(),
            text.trim_end()
        ))?;
    }
    note(summary(imported));
    Ok(())
}

fn summary(imported: &Imported) -> String {
    let mut parts = vec![counted(imported.doors.len(), "new door")];
    if !imported.already.is_empty() {
        parts.push(format!("imported already: {}", imported.already.join(", ")));
    }
    if imported.left_out > 0 {
        parts.push(format!("{} left out (see above)", imported.left_out));
    }
    parts.join("; ")
}

fn report(imported: &Imported, files: serde_json::Value) -> CliResult {
    print_json(&json!({
        "doors": imported.doors,
        "already": imported.already,
        "left_out": imported.left_out,
        "services": imported.services,
        "added": imported.added,
        "files": files,
    }))
}

/// What was done, and what is to be done now.
fn print_next_steps(paths: &Paths, imported: &Imported) -> CliResult {
    print(summary(imported))?;
    if imported.doors.is_empty() {
        return Ok(());
    }
    let flags = init::flags(paths);
    let file = paths.config_file();
    let mut steps = vec![
        format!("spad{flags} check"),
        "systemctl restart spad    (knocks are heard from a start on; knockd may run beside it)"
            .to_owned(),
    ];
    if !imported.services.is_empty() {
        let names: Vec<String> = imported
            .services
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let list = imported.services.join(",");
        steps.push(format!("spad{flags} client add NAME --key spa-pub-… --allow {list}    (a way in that nobody can watch and repeat)"));
        steps.push(format!(
            "put {} into hide = [] of {} (where your policy is DROP, answer = \"drop\" into [guard] too), then spad{flags} reload: they are hidden, on trial",
            names.join(", "),
            file.display()
        ));
        steps.push(
            "only then let your own firewall accept their ports: a drop of yours overrules what spad opens"
                .to_owned(),
        );
        steps.push(format!("knock and connect, or say spad{flags} confirm, before the trial is over (10m): after it everybody reaches what nobody reached"));
    }
    steps.push("systemctl disable --now knockd".to_owned());
    print("next:")?;
    for (number, step) in (1..).zip(&steps) {
        print(format_args!("  {number}. {step}"))?;
    }
    Ok(())
}
