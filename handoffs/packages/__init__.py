"""What a change does to packages: lock files and manifests of each ecosystem, the SBOM, licences."""
