//! Bringing generations in: directories in a pod, manifests on a laptop.
