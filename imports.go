package gatehouse

import (
	_ "github.com/gatehouse-id/gatehouse/caddymodule" // registers the modules
)
