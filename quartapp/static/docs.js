// Swagger UI on the document beside this page; nothing is sent to, or loaded from, any other server.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#viewer",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
});
