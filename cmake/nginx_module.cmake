# The nginx module; see src/nginx.
