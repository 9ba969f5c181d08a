import "./policy.js"; // first

import { createRoot } from "react-dom/client";

import { Chat } from "./chat.jsx";
import "./page.css";

createRoot(document.querySelector("main")).render(<Chat />);
