//! What statuses tell of, picked out of the caches.

use crate::ir::ids::ObjectId;
use crate::operator::context::Context;
use crate::operator::deploy::Standing;
use crate::operator::gather;
use crate::operator::observe::seen::{SeenBackend, SeenGateway, Workload};
use crate::operator::observe::{of_http_route, of_ingress, of_service};
use crate::operator::target::{Kind, Target};
use crate::translate::Inputs;
use crate::translate::naming::{backend_objects, gateway_objects};
use std::collections::BTreeMap;

impl Context {
    pub(super) fn see_gateway(&self, target: &Target, standing: Standing) -> SeenGateway {
        let objects = ObjectId::new(&target.id.namespace, gateway_objects(&target.id.name));
        let caches = &self.caches;
        // The most public way in is the one that people want to know.
        let addresses = if let Some(route) = caches.routes_of_gateway_api.get(&objects) {
            of_http_route(&route.data)
        } else if let Some(ingress) = caches.ingresses.get(&objects) {
            of_ingress(&ingress)
        } else {
            caches.services.get(&objects).map(|service| of_service(&service)).unwrap_or_default()
        };
        SeenGateway {
            channels: self.fleet.states(&target.id),
            generation: standing.generation.clone(),
            workload: self.see_workload(target, &objects, standing),
            addresses,
        }
    }

    /// Those of these gateways that have been deployed at least once: of others nothing is known yet.
    pub(super) fn see_gateways<'a>(
        &self,
        gateways: impl IntoIterator<Item = &'a ObjectId>,
    ) -> BTreeMap<ObjectId, SeenGateway> {
        let seen = |id: &ObjectId| {
            let target = Target::new(Kind::Gateway, id.clone());
            let standing = self.deployments.standing(&target)?;
            Some((id.clone(), self.see_gateway(&target, standing)))
        };
        gateways.into_iter().filter_map(seen).collect()
    }

    pub(super) fn see_backend(&self, target: &Target, inputs: &Inputs, standing: Standing) -> SeenBackend {
        let spec = inputs.backends.get(&target.id).map(|backend| &backend.spec);
        let runs_here = spec.is_some_and(|spec| spec.stdio.is_some() || spec.http.is_some());
        let objects = ObjectId::new(&target.id.namespace, backend_objects(&target.id.name));
        SeenBackend {
            workload: runs_here.then(|| self.see_workload(target, &objects, standing)),
            endpoints: spec.and_then(|spec| gather::endpoints(&target.id, spec, inputs)),
        }
    }

    fn see_workload(&self, target: &Target, deployment: &ObjectId, standing: Standing) -> Workload {
        Workload {
            apply: standing.apply,
            deployment: self.caches.deployments.get(deployment),
            pods: self.caches.pods_of(target),
        }
    }
}
