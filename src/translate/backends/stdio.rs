//! A program on standard input and output, wherever it runs.

use crate::api::backend::{Isolation, ProcessPool, StdioServer};
use crate::ir::snapshot;
use crate::translate::problem::Problem;

/// All of it but its environment and its image.
pub(in crate::translate) struct Definition {
    pub(in crate::translate) command: Vec<String>,
    pub(in crate::translate) args: Vec<String>,
    pub(in crate::translate) working_dir: Option<String>,
    pub(in crate::translate) isolation: snapshot::Isolation,
    pub(in crate::translate) pool: snapshot::ProcessPool,
}

/// The program, with its defaults; or the field that cannot be obeyed.
pub(in crate::translate) fn definition(server: &StdioServer) -> Result<Definition, Problem> {
    if server.command.is_empty() {
        return Err(Problem::invalid("spec.stdio.command is empty; name the program"));
    }
    let pool = server.pool.clone().unwrap_or_default();
    if pool.min > pool.max || pool.max == 0 {
        return Err(Problem::invalid("spec.stdio.pool.min (default 1) is above max (default 8), or max is 0"));
    }
    Ok(Definition {
        command: server.command.clone(),
        args: server.args.clone(),
        working_dir: server.working_dir.clone(),
        isolation: match server.isolation {
            Isolation::Shared => snapshot::Isolation::Shared,
            Isolation::PerSession => snapshot::Isolation::PerSession,
            Isolation::PerRequest => snapshot::Isolation::PerRequest,
        },
        pool: processes(server.isolation, &pool),
    })
}

fn processes(isolation: Isolation, pool: &ProcessPool) -> snapshot::ProcessPool {
    let idle_timeout_ms = pool.idle_timeout.as_millis();
    match isolation {
        // One process for everyone is one process.
        Isolation::Shared => snapshot::ProcessPool { min: pool.min.min(1), max: 1, idle_timeout_ms },
        Isolation::PerSession | Isolation::PerRequest => {
            snapshot::ProcessPool { min: pool.min, max: pool.max, idle_timeout_ms }
        }
    }
}
