//! `kubectl mcp import`: an `.mcp.json` becomes manifests.

use super::Failure;
use super::manifests::read_file;
use super::mcp_json::{DEFAULT_NAME, DEFAULT_PORT, ImportOptions, Purpose, manifests_from_mcp_json};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `kubectl mcp import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .mcp.json (Claude, Cursor and others), mcp.json (VS Code) or settings.json (Zed); - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Namespace of the manifests [default: none, so that kubectl's applies]
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// Name of the gateway and the route
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME)]
    name: String,
    /// Port of the gateway's listener
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Write one file per object into this directory instead of all of them to standard output
    #[arg(long, value_name = "DIRECTORY")]
    output_dir: Option<PathBuf>,
}

/// Prints or writes the manifests, and the warnings to standard error.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let text = read_file(&args.file).map_err(Failure::new)?;
    let options = ImportOptions {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        port: args.port,
        purpose: Purpose::Cluster,
    };
    let imported = manifests_from_mcp_json(&text, &options)
        .map_err(|error| Failure::new(format!("{} {error}", args.file.display())))?;
    for warning in &imported.warnings {
        eprintln!("warning: {warning}");
    }
    let Some(directory) = &args.output_dir else {
        let printed = out.write_all(imported.yaml().as_bytes());
        return printed.map_err(|error| Failure::new(format!("cannot print: {error}")));
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", directory.display())))?;
    for (name, text) in imported.files() {
        let path = directory.join(name);
        std::fs::write(&path, text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}
