//! Fields that several of Istio's security resources have and the host does not.

use crate::refused::refused;

refused! {
    TargetRef: "`targetRef` is not supported: there are no gateways and waypoints of Kubernetes here; select workloads with `selector`",
    TargetRefs: "`targetRefs` is not supported: there are no gateways and waypoints of Kubernetes here; select workloads with `selector`",
}
