//! From a server's definition to a running process: command, environment, process group, and the parent's death.

use super::reap::{self, Own};
use super::stderr::Redactor;
use super::strays::Mark;
use super::{ShimError, Surroundings};
use crate::ir::secrets::{Credentials, PrivateBytes};
use crate::ir::snapshot::{EnvValue, Process};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The first argument with which the gateway calls itself to become a child: see [`exec_entry`].
const EXEC_MODE: &str = "__exec";

/// What a shell exits with for a command that it cannot run.
const EXEC_FAILED: u8 = 127;

/// What a child gets of the gateway's own environment: what programs and package launchers cannot do without. Anything else
/// may hold a secret that is none of the child's business.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "TMP",
    "TEMP",
    // behind a company's proxy or certificate authority, launchers need these to fetch a package
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    // caches and homes of launchers
    "NVM_DIR",
    "VOLTA_HOME",
    "FNM_DIR",
    "PNPM_HOME",
    "BUN_INSTALL",
    "DENO_DIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "GOPATH",
    "PYENV_ROOT",
    "NODE_PATH",
];

/// And every variable that begins like this; a name that looks like a credential is left out.
const INHERITED_PREFIXES: &[&str] = &["LC_", "XDG_", "npm_config_", "NPM_CONFIG_", "UV_", "PIP_"];
const CREDENTIAL_WORDS: &[&str] = &["TOKEN", "PASSWORD", "SECRET", "_AUTH", "USERNAME", "CREDENTIAL"];

/// Names in a pod's environment that tell of a secret, for the logs.
const SECRET_WORDS: &[&str] =
    &["TOKEN", "PASS", "SECRET", "AUTH", "CREDENTIAL", "KEY", "PRIVATE", "COOKIE", "SIGNATURE", "DSN"];

/// A command with everything resolved. It holds secrets: it has no `Debug`.
pub(super) struct Launch {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    surroundings: Surroundings,
    redactor: Redactor,
}

/// A process that has just been started.
pub(super) struct Spawned {
    pub(super) process: Child,
    /// To be kept until the process is waited for.
    pub(super) own: Own,
    /// By which to find what it leaves behind, where that is to end with it.
    pub(super) mark: Option<Mark>,
}

impl Launch {
    /// Resolves the secrets of a server's definition.
    pub(super) fn resolve(
        process: &Process,
        credentials: &Credentials,
        surroundings: Surroundings,
    ) -> Result<Self, ShimError> {
        let (program, first_args) = process.command.split_first().ok_or(ShimError::NoCommand)?;
        let in_pod = surroundings == Surroundings::Pod;
        let mut env: Vec<_> = std::env::vars_os().filter(|(name, _)| in_pod || is_inherited(name)).collect();
        // A pod's environment is written for the server, and nothing tells which of it came from a Secret.
        let mut secrets: Vec<PrivateBytes> =
            env.iter().filter(|_| in_pod).filter_map(|(name, value)| secret_in(name, value)).collect();
        for variable in &process.env {
            let value = match &variable.value {
                EnvValue::Literal(value) => OsString::from(value),
                EnvValue::Secret(key) => {
                    let secret = credentials.get(key).ok_or_else(|| ShimError::MissingSecret {
                        variable: variable.name.clone(),
                        key: key.to_string(),
                    })?;
                    secrets.push(secret.clone());
                    OsString::from_vec(secret.expose().to_vec())
                }
            };
            if variable.name.is_empty() || variable.name.contains(['=', '\0']) || value.as_bytes().contains(&0) {
                return Err(ShimError::InvalidVariable { variable: variable.name.clone() });
            }
            env.retain(|(name, _)| *name != *variable.name);
            env.push((OsString::from(&variable.name), value));
        }
        Ok(Self {
            program: OsString::from(program),
            args: first_args.iter().chain(&process.args).map(OsString::from).collect(),
            env,
            directory: process.working_dir.as_ref().map(PathBuf::from),
            surroundings,
            redactor: Redactor::new(secrets.iter()),
        })
    }

    /// The secrets of the environment, to be blotted out of whatever the process prints.
    pub(super) fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    /// Starts the process, in a process group of its own, with all three pipes.
    pub(super) async fn spawn(&self) -> Result<Spawned, ShimError> {
        if let Some(directory) = self.directory.as_ref().filter(|directory| !directory.is_dir()) {
            return Err(ShimError::NoDirectory { directory: directory.display().to_string() });
        }
        let program = self.find_program()?;
        let mut command = Command::from(command(&program));
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mark = (self.surroundings == Surroundings::Pod).then(Mark::next);
        if let Some(mark) = &mark {
            command.env(Mark::VARIABLE, mark.value());
        }
        let (process, own) = spawn_on_lasting_thread(command)
            .await
            .map_err(|source| ShimError::Spawn { command: self.name(), source })?;
        Ok(Spawned { process, own, mark })
    }

    /// The command's name, for messages. Arguments may hold secrets and are left out.
    pub(super) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Looks the program up as a shell would. Done here, so that the error can name it whichever way it is run.
    fn find_program(&self) -> Result<PathBuf, ShimError> {
        let program = Path::new(&self.program);
        if program.components().count() > 1 || program.is_absolute() {
            let path = self.directory.as_ref().map_or_else(|| program.to_owned(), |directory| directory.join(program));
            // Absolute, since the child changes its directory before it executes the program.
            let path = std::path::absolute(&path).unwrap_or(path);
            return if is_executable(&path) { Ok(path) } else { Err(self.not_executable(&path)) };
        }
        let path = self.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        std::env::split_paths(path.unwrap_or_else(|| OsStr::new("/usr/local/bin:/usr/bin:/bin")))
            .map(|directory| directory.join(program))
            .find(|candidate| is_executable(candidate))
            .ok_or_else(|| self.not_found())
    }

    fn not_executable(&self, path: &Path) -> ShimError {
        if path.is_file() { ShimError::NotExecutable { command: self.name() } } else { self.not_found() }
    }

    fn not_found(&self) -> ShimError {
        ShimError::CommandNotFound { command: self.name() }
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn is_inherited(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let upper = name.to_ascii_uppercase();
    INHERITED.contains(&name)
        || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !CREDENTIAL_WORDS.iter().any(|word| upper.contains(word))
}

/// What is secret of a variable that does not say where it comes from: by its name, or the password in a URL. File names are not.
fn secret_in(name: &OsStr, value: &OsStr) -> Option<PrivateBytes> {
    let (upper, value) = (name.to_str()?.to_ascii_uppercase(), value.as_bytes());
    if value.starts_with(b"/") || value.starts_with(b"./") {
        return None;
    }
    if SECRET_WORDS.iter().any(|word| upper.contains(word)) {
        return Some(PrivateBytes::new(value));
    }
    let address = &value[memchr::memmem::find(value, b"://")? + 3..];
    let user_info = &address[..memchr::memchr(b'@', address)?];
    Some(PrivateBytes::new(&user_info[memchr::memchr(b':', user_info)? + 1..]))
}

/// Whether this binary's `main` begins with [`exec_entry`].
static HAS_EXEC_ENTRY: AtomicBool = AtomicBool::new(false);

/// Must be the first thing that the gateway's `main` does. Where the gateway called itself to start a child, this becomes the
/// child, and returns only with the exit code of a failure; otherwise it returns `None`, and from then on children are
/// started that way.
///
/// Between being forked and becoming the child's program, such a process asks the kernel to end it when the gateway dies,
/// however it dies. It is the only place to ask without unsafe code.
pub fn exec_entry() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|mode| mode == EXEC_MODE) {
        let error = exec(args);
        // The gateway reads this as the child's last words.
        eprintln!("cannot start the server: {error}");
        return Some(ExitCode::from(EXEC_FAILED));
    }
    HAS_EXEC_ENTRY.store(true, Ordering::Relaxed);
    None
}

/// Becomes another program, to be ended with SIGTERM when the gateway dies. Returns only if that failed. `args`: the
/// gateway's process id, the program, its arguments.
///
/// SIGTERM and not SIGKILL, because launchers such as `npx` pass it on to the server they started.
fn exec(mut args: impl Iterator<Item = OsString>) -> std::io::Error {
    let parent = args.next().and_then(|parent| parent.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return std::io::Error::new(std::io::ErrorKind::InvalidInput, "meant for the gateway's own use");
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)) {
        return error.into();
    }
    // The parent may have died before the kernel was asked.
    if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        return std::io::Error::other("the gateway is gone");
    }
    std::process::Command::new(program).args(args).exec()
}

/// A command that becomes `program` by way of [`exec_entry`]. Only Linux has a signal on the parent's death.
fn command(program: &Path) -> std::process::Command {
    let own = std::env::current_exe().ok().filter(|own| own.is_file());
    match own.filter(|_| cfg!(target_os = "linux") && HAS_EXEC_ENTRY.load(Ordering::Relaxed)) {
        None => std::process::Command::new(program),
        Some(own) => {
            let mut command = std::process::Command::new(own);
            command.arg(EXEC_MODE).arg(std::process::id().to_string()).arg(program);
            command
        }
    }
}

struct Job {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<std::io::Result<(Child, Own)>>,
}

/// Spawns from one thread that lives as long as the process: the parent-death signal fires when the *thread* that spawned
/// dies, and threads of the runtime come and go. It also keeps a slow fork off the runtime's workers.
async fn spawn_on_lasting_thread(command: Command) -> std::io::Result<(Child, Own)> {
    static SPAWNER: OnceLock<std::io::Result<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("mcp-spawn".to_owned()).spawn(move || {
            for Job { mut command, runtime, reply } in queue {
                let _context = runtime.enter();
                // If nobody waits any more, the child drops here and is killed.
                let _ = reply.send(reap::spawn(&mut command));
            }
        })?;
        Ok(jobs)
    });
    let spawner = spawner.as_ref().map_err(|error| std::io::Error::new(error.kind(), "no thread to spawn from"))?;
    let (reply, child) = oneshot::channel();
    let gone = || std::io::Error::other("the spawning thread is gone");
    spawner.send(Job { command, runtime: Handle::current(), reply }).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ids::SecretKey;
    use crate::ir::snapshot::{EnvVar, Isolation, ProcessPool};

    fn process(command: &[&str], env: Vec<EnvVar>) -> Process {
        Process {
            command: command.iter().map(ToString::to_string).collect(),
            args: Vec::new(),
            env,
            working_dir: None,
            isolation: Isolation::PerSession,
            pool: ProcessPool { min: 0, max: 1, idle_timeout_ms: 1000 },
        }
    }

    fn resolve(process: &Process) -> Result<Launch, ShimError> {
        Launch::resolve(process, &Credentials::default(), Surroundings::Laptop)
    }

    #[test]
    fn the_environment_is_an_allow_list() {
        for name in ["PATH", "HOME", "LC_ALL", "XDG_CACHE_HOME", "npm_config_cache", "UV_CACHE_DIR"] {
            assert!(is_inherited(OsStr::new(name)), "{name}");
        }
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "KUBECONFIG",
            "LD_PRELOAD",
            "UV_PUBLISH_TOKEN",
            "npm_config__auth",
        ] {
            assert!(!is_inherited(OsStr::new(name)), "{name}");
        }
    }

    #[tokio::test]
    async fn a_child_sees_its_own_variables_and_no_others() {
        let key = SecretKey::new("default", "token", "key");
        let mut credentials = Credentials::default();
        credentials.values.insert(key.clone(), PrivateBytes::new(*b"s3cret"));
        let env = vec![
            EnvVar { name: "API_TOKEN".to_owned(), value: EnvValue::Secret(key) },
            EnvVar { name: "HOME".to_owned(), value: EnvValue::Literal("/nowhere".to_owned()) },
        ];
        let launch = Launch::resolve(&process(&["env"], env), &credentials, Surroundings::Laptop).unwrap();
        let output = launch.spawn().await.unwrap().process.wait_with_output().await.unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.lines().any(|line| line == "API_TOKEN=s3cret"), "{output}");
        assert!(output.lines().any(|line| line == "HOME=/nowhere"), "{output}");
        let leaked = |name: &&str| !is_inherited(OsStr::new(name)) && *name != "API_TOKEN";
        let names = output.lines().filter_map(|line| Some(line.split_once('=')?.0));
        assert_eq!(names.filter(leaked).collect::<Vec<_>>(), [""; 0]);
    }

    #[tokio::test]
    async fn in_a_pod_a_child_sees_the_whole_environment_and_its_mark() {
        let launch =
            Launch::resolve(&process(&["env"], Vec::new()), &Credentials::default(), Surroundings::Pod).unwrap();
        let spawned = launch.spawn().await.unwrap();
        let mark = format!("{}={}", Mark::VARIABLE, spawned.mark.as_ref().unwrap().value());
        let output = spawned.process.wait_with_output().await.unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.lines().any(|line| line == mark), "{output}");
        for (name, _) in std::env::vars() {
            assert!(output.lines().any(|line| line.starts_with(&format!("{name}="))), "{name}: {output}");
        }
    }

    #[test]
    fn what_is_secret_is_guessed_from_names_and_urls() {
        let secret = |name: &str, value: &str| {
            secret_in(OsStr::new(name), OsStr::new(value))
                .map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
        };
        assert_eq!(secret("GITHUB_TOKEN", "ghp_1234").as_deref(), Some("ghp_1234"));
        assert_eq!(secret("DATABASE_URL", "postgres://me:s3cret@db/x").as_deref(), Some("s3cret"));
        for (name, value) in [("NODE_ENV", "production"), ("TOKEN_FILE", "/run/token"), ("HOME_PAGE", "https://a/b")] {
            assert_eq!(secret(name, value), None, "{name}");
        }
    }

    #[test]
    fn a_missing_secret_is_named_without_starting_anything() {
        let env = vec![EnvVar { name: "T".to_owned(), value: EnvValue::Secret(SecretKey::new("ns", "s", "k")) }];
        let error = resolve(&process(&["env"], env)).err().unwrap();
        assert_eq!(error.to_string(), "the variable T needs the secret ns/s/k, which was not given");
    }

    #[tokio::test]
    async fn a_missing_command_and_a_missing_directory_are_named() {
        for command in ["no-such-mcp-server", "./no-such-mcp-server", "/no/such/mcp-server"] {
            let launch = resolve(&process(&[command], Vec::new())).unwrap();
            let error = launch.spawn().await.err().unwrap();
            assert!(error.to_string().starts_with(&format!("the command {command:?} was not found")), "{error}");
        }
        let mut process = process(&["env"], Vec::new());
        process.working_dir = Some("/no/such/directory".to_owned());
        let error = resolve(&process).unwrap().spawn().await.err().unwrap();
        assert!(error.to_string().contains("/no/such/directory"), "{error}");
    }

    #[test]
    fn nothing_is_executed_for_who_is_not_the_gateway() {
        let run = |args: &[&str]| exec(args.iter().map(OsString::from)).to_string();
        assert_eq!(run(&[]), "meant for the gateway's own use");
        assert_eq!(run(&["x", "true"]), "meant for the gateway's own use");
        assert_eq!(run(&["0"]), "meant for the gateway's own use");
    }
}
