//! A control plane for tests: a real API server with a real controller manager, and no nodes.
//!
//! Most tests use the shared one, each in namespaces of its own. Tests that disturb it start a private one. What needs no
//! more than an API server runs against the user's own cluster too: the one of [`USERS_KUBECONFIG`], if that is set.

// Tests that use all of it come one by one.
#![allow(dead_code)]

mod programs;

use crate::support::objects::install_stand_in;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::core::{GroupVersionKind, ObjectMeta};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use mcp_gateway_operator::api::API_VERSION;
use programs::{API_SERVER, CONTROLLER_MANAGER, ETCD, Programs};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a test waits for something that must happen: far beyond what a busy machine needs, so that only a defect ends
/// there.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Names the file with which tests reach a cluster of the user's; `make control-plane` sets it from `KUBECONFIG`.
const USERS_KUBECONFIG: &str = "CONTROL_PLANE_KUBECONFIG";

/// A control plane with the custom resource definitions installed.
pub struct ControlPlane {
    /// None of a cluster of the user's.
    programs: Option<Programs>,
    /// For the files that tests need.
    directory: PathBuf,
    kubeconfig: PathBuf,
    config: Config,
}

impl ControlPlane {
    /// The one that all tests of this process share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        let start = async || match std::env::var_os(USERS_KUBECONFIG) {
            Some(kubeconfig) => Self::of_the_user(kubeconfig.into()).await,
            None => Self::private().await,
        };
        SHARED.get_or_init(start).await
    }

    async fn of_the_user(kubeconfig: PathBuf) -> Self {
        let directory = programs::new_directory();
        fs::create_dir(&directory).unwrap();
        let config = read_config(&kubeconfig).await;
        let cluster = Self { programs: None, directory, kubeconfig, config };
        cluster.apply_crds().await;
        cluster
    }

    /// One of a test's own, which ends with this value.
    pub async fn private() -> Self {
        let programs = Programs::prepare();
        programs.start(ETCD);
        programs.start(API_SERVER);
        let directory = programs.directory().to_owned();
        let kubeconfig = directory.join("admin.kubeconfig");
        let config = read_config(&kubeconfig).await;
        let cluster = Self { programs: Some(programs), directory, kubeconfig, config };
        cluster.ready().await;
        cluster.programs().start(CONTROLLER_MANAGER);
        cluster.apply_crds().await;
        cluster
    }

    /// A client that may do everything. It belongs to the runtime that asks for it.
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone()).unwrap()
    }

    /// The file with which others reach the API server; they may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig for a service account, good for a day.
    pub async fn kubeconfig_for(&self, namespace: &str, account: &str) -> PathBuf {
        let spec = TokenRequestSpec { expiration_seconds: Some(24 * 60 * 60), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();

        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let token = Some(answer.status.unwrap().token.into());
        kubeconfig.auth_infos[0].auth_info = Some(AuthInfo { token, ..AuthInfo::default() });
        let path = self.directory.join(format!("{namespace}-{account}.kubeconfig"));
        fs::write(&path, serde_json::to_vec(&kubeconfig).unwrap()).unwrap();
        path
    }

    /// A client with what a kubeconfig of this cluster gives.
    pub async fn client_of(&self, kubeconfig: &Path) -> Client {
        Client::try_from(read_config(kubeconfig).await).unwrap()
    }

    /// A new namespace, with its service account `default`.
    pub async fn namespace(&self, prefix: &str) -> String {
        let metadata = ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let created = Api::all(self.client()).create(&PostParams::default(), &namespace).await.unwrap();
        let name = created.metadata.name.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), &name);
        self.until("the namespace has a service account", async || accounts.get_opt("default").await.unwrap()).await;
        name
    }

    /// Creates an object of a kind of Kubernetes or of ours, as it is written in manifests.
    pub async fn create(&self, namespace: &str, manifest: &Value) -> DynamicObject {
        let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        let types = object.types.clone().expect("a manifest says apiVersion and kind");
        let (resource, _) =
            kube::discovery::pinned_kind(&self.client(), &GroupVersionKind::try_from(types).unwrap()).await.unwrap();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &resource);
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Every request that has been answered so far, as the API server's audit log has it (`audit.k8s.io/v1`, without
    /// bodies; of a watch when it ended). The last answers may be on their way into it.
    pub fn audit(&self) -> Vec<Value> {
        self.audit_lines("")
    }

    /// The requests of one user only: a log of many others' is read much sooner.
    pub fn audit_of(&self, user: &str) -> Vec<Value> {
        let mut events = self.audit_lines(user);
        events.retain(|event| event["user"]["username"] == user);
        events
    }

    /// Those whose lines contain a text.
    fn audit_lines(&self, text: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.programs().directory().join("audit.log")).unwrap();
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines = whole.lines().filter(|line| line.contains(text));
        let events = lines.map(|line| serde_json::from_str(line).unwrap());
        events.filter(|event: &Value| event["stage"] == "ResponseComplete").collect()
    }

    /// Installs the custom resource definitions of the code, and waits until they are served.
    async fn apply_crds(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client());
        for crd in mcp_gateway_operator::api::crd::all() {
            let name = crd.metadata.name.clone().unwrap();
            crds.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(&crd)).await.unwrap();
            let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(PATIENCE, established).await.expect("the definition is established").unwrap();
        }
        // Established is what the definition says; a moment later the kind is served too.
        let kinds = ["MCPGateway", "MCPBackend", "MCPRoute", "MCPAuthPolicy"];
        let client = self.client();
        self.until("the kinds are served", async || {
            let served = client.list_api_group_resources(API_VERSION).await.ok()?.resources;
            kinds.iter().all(|kind| served.iter().any(|resource| resource.kind == *kind)).then_some(())
        })
        .await;
    }

    /// Installs a kind of others, whose objects may be anything.
    pub async fn install(&self, kind: &str, group: &str, version: &str, plural: &str) {
        install_stand_in(&self.client(), kind, group, version, plural).await;
        let client = self.client();
        self.until("the kind is served", async || {
            let served = client.list_api_group_resources(&format!("{group}/{version}")).await.ok()?;
            served.resources.iter().any(|resource| resource.kind == kind).then_some(())
        })
        .await;
    }

    /// Ends all of it. For those that live as long as the tests' process, and would take other tests' time.
    pub fn stop(&self) {
        for program in [CONTROLLER_MANAGER, API_SERVER, ETCD] {
            self.programs().kill(program);
        }
    }

    /// Kills the API server. Clients see connections break, and then none.
    pub fn stop_apiserver(&self) {
        self.programs().kill(API_SERVER);
    }

    /// Starts the API server again where it was, and waits until it is ready.
    pub async fn start_apiserver(&self) {
        self.programs().start(API_SERVER);
        self.ready().await;
    }

    /// Kills the API server and starts it again.
    pub async fn restart_apiserver(&self) {
        self.stop_apiserver();
        self.start_apiserver().await;
    }

    /// Asks again and again until there is an answer.
    pub async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let asking = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                if let Some(failure) = self.failure() {
                    panic!("{what}: {failure}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let Ok(answer) = tokio::time::timeout(PATIENCE, asking).await else {
            panic!("{what}: not within {PATIENCE:?}");
        };
        answer
    }

    /// Why a program of it ended, if one did.
    pub fn failure(&self) -> Option<String> {
        let programs = self.programs.as_ref()?;
        [ETCD, API_SERVER, CONTROLLER_MANAGER].into_iter().find_map(|program| programs.failure(program))
    }

    fn programs(&self) -> &Programs {
        self.programs.as_ref().expect("this needs a control plane of the tests' own: unset CONTROL_PLANE_KUBECONFIG")
    }

    async fn ready(&self) {
        self.until("the API server is ready", async || {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            // A client each time: none is to wait before it connects again.
            self.client().request_text(request).await.ok()
        })
        .await;
    }
}

async fn read_config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}
